"""The longest Collatz chain, by a map over a pool: here, or, with a URL, on all machines that serve it."""

from __future__ import annotations

import sys

from longboat import Longboat, Pool

BELOW, STEP = 100_000, 5_000

app = Longboat()


@app.task(executor="process")
def longest(start: int) -> tuple[int, int]:
    """The most steps to 1 of the numbers from `start` up to the next start, and the number that takes them."""
    return max((steps(number), number) for number in range(max(1, start), start + STEP))


def steps(number: int) -> int:
    count = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) > 1:
        app.url = sys.argv[1]
    with Pool(app if len(sys.argv) > 1 else None) as pool:
        most, number = max(pool.imap_unordered(longest, range(0, BELOW, STEP)))
    print(f"{number:,} takes {most} steps, the most below {BELOW:,}")
