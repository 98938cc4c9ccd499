"""A process that listens with `app.events()`, as a user's would: `python -m bench.events.listener`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench import jobs
from bench.place import started
from longboat import connect
from longboat.observe.stream import LISTENING

PATIENCE = 30.0


@contextlib.contextmanager
def listening(address: str, number: int) -> Iterator[None]:
    """So many processes listen meanwhile."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(started(["bench.events.listener"], address))
        broker = connect(address)
        try:
            due = time.monotonic() + PATIENCE
            while len(broker.kv.entries(LISTENING)) < number:
                if time.monotonic() > due:
                    raise TimeoutError("nobody listens")
                time.sleep(0.02)
        finally:
            broker.close()
        yield


def main() -> None:
    with jobs.app.events() as events:
        for _ in events:
            continue


if __name__ == "__main__":
    main()
