"""dramatiq: https://dramatiq.io."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import default_middleware

from bench.peers.driver import Driver, drive, noop, url

middleware = [kind() for kind in default_middleware if kind.__name__ != "Prometheus"]
dramatiq.set_broker(RedisBroker(url=url, middleware=middleware))
actor = dramatiq.actor(noop, actor_name="noop")


def put(number: int) -> None:
    for _ in range(number):  # there is no bulk call
        actor.send()


driver = Driver(
    "dramatiq",
    "one process, 10 threads, the default middleware but for Prometheus",
    at_least_once=True,
    put=put,
    worker=["dramatiq", "-p", "1", "-t", "10", "--skip-logging", "bench.redis.peers.dramatiq"],
)

if __name__ == "__main__":
    drive(driver)
