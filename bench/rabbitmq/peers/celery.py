"""celery: https://docs.celeryq.dev."""

from __future__ import annotations

from celery import Celery

from bench.peers.driver import Driver, drive, noop, url
from bench.rabbitmq.peers.timed import timed

app = Celery("peer", broker=url)
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_default_queue_type="quorum",
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


@timed
def put(number: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:  # there is no bulk call
        for _ in range(number):
            task.apply_async(producer=producer)


quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
driver = Driver(
    "celery",
    "quorum queue, confirm_publish; threads, concurrency 10, acks_late, reject_on_worker_lost, prefetch multiplier 100, "
    "no gossip, mingle or heartbeat",
    at_least_once=True,
    put=put,
    worker=["celery", "-A", "bench.rabbitmq.peers.celery:app", "worker", "-P", "threads", "-c", "10", *quiet],
)

if __name__ == "__main__":
    drive(driver)
