"""Pools: the standard library's faces over the queue: an executor of `concurrent.futures`."""
