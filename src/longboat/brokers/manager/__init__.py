"""The manager broker: a store published over TCP with the standard library, for a master and workers on other machines."""

from longboat.brokers.manager.broker import ManagerBroker
from longboat.brokers.manager.server import PlainManager, Server

__all__ = ["ManagerBroker", "PlainManager", "Server"]
