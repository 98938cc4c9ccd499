"""The RabbitMQ broker: jobs as persistent, confirmed messages in queues of a server."""

from longboat.brokers.rabbitmq.broker import RabbitmqBroker
from longboat.brokers.rabbitmq.carrier import Options, RabbitmqCarrier

__all__ = ["Options", "RabbitmqBroker", "RabbitmqCarrier"]
