"""The brokers: adapters that keep the contract of contract/broker.py, strangers to each other."""
