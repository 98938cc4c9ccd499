"""The brokers: adapters that keep the contract of broker.py, strangers to each other."""
