"""What both terminals share: the Redis server, and where the functions are."""

from longboat import Longboat

app = Longboat("redis://localhost:6379", include=["functions"])
