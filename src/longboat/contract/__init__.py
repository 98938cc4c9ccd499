"""What a broker keeps, as prose and types: jobs, results, entries, transfers, and what can be looked at and changed.

No behaviour of any one broker, and no I/O. `longboat.testing.conformance` holds each promise as a test.
"""
