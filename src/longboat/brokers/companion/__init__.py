"""The companion: a whole broker over any carrier of messages and any KV. The carrier moves jobs; the KV says what they are.

Every part is given the ledger (the entries in the KV) and what else it uses; none knows which carrier or store it works on.
"""

from longboat.brokers.companion.broker import CompanionBroker

__all__ = ["CompanionBroker"]
