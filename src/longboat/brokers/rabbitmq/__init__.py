"""The RabbitMQ broker: jobs as persistent, confirmed messages in queues of a server."""

from longboat.brokers.rabbitmq.broker import RabbitmqBroker

__all__ = ["RabbitmqBroker"]
