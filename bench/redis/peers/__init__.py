"""One driver for each of the other queues, run by an interpreter of its own environment: driver.py says how."""
