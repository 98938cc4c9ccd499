"""Redis servers for tests: a single one, one guarded by Sentinels, a Cluster. They need `redis-server` >= 7, no client."""

from tests.rigs.servers.redis.cluster import RedisCluster, slot_of
from tests.rigs.servers.redis.resp import RedisError, command
from tests.rigs.servers.redis.sentinels import RedisSentinels
from tests.rigs.servers.redis.server import RedisServer, available

__all__ = ["RedisCluster", "RedisError", "RedisSentinels", "RedisServer", "available", "command", "slot_of"]
