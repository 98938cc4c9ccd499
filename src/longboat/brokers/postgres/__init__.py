"""The broker on a PostgreSQL server."""

from longboat.brokers.postgres.broker import PostgresBroker

__all__ = ["PostgresBroker"]
