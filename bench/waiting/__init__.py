"""The figures of coroutines that wait for results."""
