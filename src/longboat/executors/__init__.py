"""The executors: how functions are run. Adapters of contract.py, strangers to each other."""
