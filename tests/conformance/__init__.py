"""The contract held against every broker, and against brokers that break it."""
