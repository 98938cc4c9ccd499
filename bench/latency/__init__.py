"""Latency under an open load: from when a job is due to its start and to its result, beside other queues."""
