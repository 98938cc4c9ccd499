"""rq: https://python-rq.org."""

from __future__ import annotations

from redis import Redis
from rq import Queue, Retry

from bench.peers.driver import Driver, drive, url

BATCH = 1000


def put(number: int) -> None:
    with Redis.from_url(url) as client:
        queue = Queue("default", connection=client)
        for start in range(0, number, BATCH):
            name = "bench.peers.driver.noop"
            count = min(BATCH, number - start)
            queue.enqueue_many([Queue.prepare_data(name, result_ttl=0, retry=Retry(max=3)) for _ in range(count)])


driver = Driver(
    "rq",
    "SimpleWorker (no fork for each job), Retry(max=3), without which a killed worker's job is only marked failed",
    at_least_once=True,
    put=put,
    worker=["rq", "worker", "-q", "-u", url, "-w", "rq.SimpleWorker", "default"],
)

if __name__ == "__main__":
    drive(driver)
