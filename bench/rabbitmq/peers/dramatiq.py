"""dramatiq: https://dramatiq.io."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import default_middleware

from bench.peers.driver import Driver, drive, noop, url
from bench.rabbitmq.peers.timed import timed

middleware = [kind() for kind in default_middleware if kind.__name__ != "Prometheus"]
dramatiq.set_broker(RabbitmqBroker(url=url, middleware=middleware, confirm_delivery=True))
actor = dramatiq.actor(noop, actor_name="noop")


@timed
def put(number: int) -> None:
    for _ in range(number):  # there is no bulk call
        actor.send()


driver = Driver(
    "dramatiq",
    "durable classic queue (it declares no quorum queues), confirm_delivery; one process, 10 threads, the default "
    "middleware but for Prometheus",
    at_least_once=True,
    put=put,
    worker=["dramatiq", "-p", "1", "-t", "10", "--skip-logging", "bench.rabbitmq.peers.dramatiq"],
)

if __name__ == "__main__":
    drive(driver)
