"""The executor and the pool, beside the standard library's, loky and dask: `python -m bench.pools`."""
