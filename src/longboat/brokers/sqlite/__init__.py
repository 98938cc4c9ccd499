"""The broker in one SQLite file: the default, with nothing to install."""

from longboat.brokers.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
