"""The version of this Longboat. It stands alone: to ask importlib.metadata costs a worker 3 MB and 30 ms."""

__version__ = "0.1.0"
