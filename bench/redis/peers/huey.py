"""huey: https://huey.readthedocs.io."""

from __future__ import annotations

from huey import RedisHuey

from bench.peers.driver import Driver, drive, noop, url

app = RedisHuey("peer", url=url, results=False)
task = app.task(name="noop")(noop)


def put(number: int) -> None:
    for _ in range(number):  # there is no bulk call
        task()


quiet = ["-d", "0.001", "-m", "0.1", "-C", "-q"]
driver = Driver(
    "huey",
    "10 threads, delay 1 ms, no health check of its threads",
    at_least_once=False,
    put=put,
    worker=["huey_consumer", "bench.redis.peers.huey.app", "-k", "thread", "-w", "10", *quiet],
)

if __name__ == "__main__":
    drive(driver)
