"""Calls by name become jobs, however many there are."""

from __future__ import annotations

from longboat import Longboat
from longboat.core.job import State
from longboat.pools.routes import PUT, put
from longboat.pools.way import Call


def test_more_calls_than_one_put_takes_are_known_by_their_ids() -> None:
    with Longboat("memory://") as app:

        @app.task
        def double(n: int) -> int:
            return 2 * n

        count = PUT + 1
        ids = [f"call-{n}" for n in range(count)]
        calls: list[Call] = [((n,), {}) for n in range(count)]
        for _ in range(2):
            assert [handle.id for handle in put(double, calls, ids)] == ids
            assert app.client.broker.inspector.counts() == {("default", State.READY): count}
