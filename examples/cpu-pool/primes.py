"""What the pool computes: real work for processors, in child processes, tried again when it fails."""

from longboat import Longboat, current

app = Longboat()


@app.task(executor="process", queue="cpu", retries=3, backoff="200ms")
def primes(below: int) -> tuple[int, int]:
    """How many primes there are below a number, and in which attempt that was found.

    Every fifth call fails at its first attempt, to show a retry.
    """
    if below % 5 == 0 and current().attempt == 1:
        raise ConnectionError("a dependency is away for a moment")
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0\0"
    for n in range(2, int(below**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, below, n)))
    return sum(sieve), current().attempt
