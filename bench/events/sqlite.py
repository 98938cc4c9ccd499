"""On SQLite, as durable as it is by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench import jobs
from bench.events import drain
from bench.figure import Figure, Plan, Tell
from bench.place import at, folder, url


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    return drain.figures(plan, tell, "SQLite", filled)


@contextlib.contextmanager
def filled(number: int) -> Iterator[str]:
    with folder() as path:
        address = url(path, "full")
        with at(address):
            jobs.noop.enqueue_many(() for _ in range(number))
        yield address
