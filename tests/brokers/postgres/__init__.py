"""Tests of the PostgreSQL broker. Outages are in `tests/faults`."""
