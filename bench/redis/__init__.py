"""The figures of Longboat on Redis, beside a hand-written loop and the other queues: `python -m bench.redis`."""
