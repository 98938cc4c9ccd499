"""Tests of the RabbitMQ broker. Outages are in `tests/faults`."""
