"""The other queues on PostgreSQL, one driver each: `python -m bench.postgres.peers.NAME`."""
