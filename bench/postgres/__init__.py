"""The figures of Longboat on PostgreSQL, beside a bare loop over a table: `python -m bench.postgres`."""
