"""With a store beside the server: put, and receive with settle, of the companion's calls beside those of messages alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import quote

from bench.figure import Figure, Plan, Tell, ratio
from bench.place import folder
from bench.rabbitmq.calls import calls
from bench.rabbitmq.server import emptied, server
from bench.redis.server import server as redis

NUMBER, BATCH = 10_000, 100


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    number = NUMBER // 5 if plan.quick else NUMBER
    with server() as made:
        for name, store in (("SQLite", sqlite), ("Redis", redis)):
            alone: list[tuple[float, float]] = []
            beside: list[tuple[float, float]] = []
            for turn in range(plan.repeat):
                tell(f"with {name} {turn + 1}/{plan.repeat}")
                alone.append(calls(emptied(made), number, BATCH))
                with store() as url:
                    beside.append(calls(f"{emptied(made)}?results={quote(url, safe='')}", number, BATCH))
            for at, what in ((1, "put by 1,000"), (0, f"receive and settle by {BATCH}")):
                ours, bare = [rates[at] for rates in beside], [rates[at] for rates in alone]
                yield ratio(f"{what}, with {name} beside it", ours, bare, "messages alone", "jobs/s")


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a new file, each write synced to the disk."""
    with folder() as path:
        yield f"sqlite:///{path}/store.db"
