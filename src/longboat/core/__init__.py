"""Plain data and pure decisions: jobs, their outcomes, values as bytes, retry policies, time.

No I/O here, and nothing that knows a broker, a task's function or a worker. Everything may import this room.
"""
