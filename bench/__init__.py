"""The figures that Longboat claims, each measured beside its limit or a peer in the same run: `python -m bench`."""
