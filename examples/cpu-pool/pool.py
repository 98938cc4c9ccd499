"""Enqueues the work, kills one of the two workers in the middle of it with signal 9, and waits for every result."""

import os
import signal
import subprocess
import sys

from longboat import as_completed, gather
from primes import app, primes

JOBS = 60
WORKER = [sys.executable, "-m", "longboat", "worker", "primes:app", "--processes", "2", "--log-level", "error"]
# The child processes end with their worker: one signal, and all that it held is lost to it.


def main() -> None:
    workers = [subprocess.Popen(WORKER) for _ in range(2)]
    numbers = [300_000 + n for n in range(JOBS)]
    jobs = primes.enqueue_many((n,) for n in numbers[:-1])
    jobs.append(primes.using(priority=2).enqueue(numbers[-1]))  # goes first
    for done, _ in enumerate(as_completed(jobs, timeout="60s"), 1):
        if done == JOBS // 4:
            os.kill(workers[0].pid, signal.SIGKILL)
            print(f"{done} of {JOBS} jobs have ended: worker {workers[0].pid} was killed")
    results = gather(*jobs).result("10s")
    print(f"{JOBS} of {JOBS} jobs have a result; there are {results[0][0]:,} primes below {numbers[0]:,}")
    print(f"{sum(attempt > 1 for _, attempt in results)} jobs took more than one attempt")
    for worker in workers:
        worker.terminate()
        worker.wait()
    app.close()


if __name__ == "__main__":
    main()
