"""The executors: how functions are run. Adapters of executor.py, strangers to each other."""
