"""Jobs on a Redis or Valkey server: `RedisBroker`."""

from longboat.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
