"""The memory broker: the contract's reference, inside one process and gone with it."""

from longboat.brokers.memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
