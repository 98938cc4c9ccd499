"""Attacks on everything that listens, reads or writes: each test is named after what it tries."""
