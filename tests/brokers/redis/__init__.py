"""Tests of the Redis broker. Outages are in `tests/faults`."""
