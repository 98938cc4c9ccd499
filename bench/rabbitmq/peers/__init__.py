"""Drivers of other queues on RabbitMQ, each run by an interpreter of bench/peers/environments.py."""
