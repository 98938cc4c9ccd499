"""The functions that run in the background. They are plain functions: nothing of the queue is in here."""

import time


def add(a: int, b: int) -> int:
    time.sleep(0.1)
    return a + b


def divide(a: int, b: int) -> float:
    return a / b
