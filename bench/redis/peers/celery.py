"""celery: https://docs.celeryq.dev."""

from __future__ import annotations

from celery import Celery

from bench.peers.driver import Driver, drive, noop, url

app = Celery("peer", broker=url)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=100,
    worker_disable_rate_limits=True,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
task = app.task(name="noop")(noop)


def put(number: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:  # there is no bulk call
        for _ in range(number):
            task.apply_async(producer=producer)


quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
driver = Driver(
    "celery",
    "threads, concurrency 10, acks_late, reject_on_worker_lost, prefetch multiplier 100, no gossip, mingle or heartbeat",
    at_least_once=True,
    put=put,
    worker=["celery", "-A", "bench.redis.peers.celery:app", "worker", "-P", "threads", "-c", "10", *quiet],
)

if __name__ == "__main__":
    drive(driver)
