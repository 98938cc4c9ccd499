"""The executor, beside the standard library's: `python -m bench.pools`."""
