"""RedisInspector: looks at the server's jobs, and an operator's changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Server
from longboat.brokers.redis.views import looked_up, view
from longboat.contract.base_pages import Position, batches, cursor_of, page_of, position_of, window
from longboat.core.job import State
from longboat.core.views import STATES, ConsumerView, JobView, LimitView, Page, queues_of

_BATCH = 500


class _Place(NamedTuple):
    """Where a page found a job."""

    queue: str
    key: bytes
    at: str

    def rank(self, state: State) -> tuple[Any, ...]:
        score = float(self.at)
        return (-score,) if state.ended else (score, self.key)


class RedisInspector:
    def __init__(self, server: Server) -> None:
        self._server = server

    def counts(self) -> Mapping[tuple[str, State], int]:
        flat = self._server.call("counts")
        counts = {}
        for field, n in zip(flat[::2], flat[1::2], strict=True):
            state, _, queue = field.decode(errors="surrogateescape").partition(":")
            if n.isdigit() and int(n) > 0 and state in STATES:
                counts[queue, State(state)] = int(n)
        return counts

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        keys = [key_of(job_id) for job_id in ids]
        views = map(view, keys, looked_up(self._server, keys))
        return [seen if seen and seen.id == job_id else None for seen, job_id in zip(views, ids, strict=True)]

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        queues = [queue] if queue is not None else sorted(name for name, its in self.counts() if its is state)
        size = window(limit, task)
        places = self._places(state, queues, position_of(after, str, str, str), size + 1)
        views = self._views(state, places[:size])

        def cursor(place: _Place) -> str:
            return cursor_of(place.queue, place.at, place.key.hex())

        return page_of(places, limit, task, views.get, cursor)

    def _places(self, state: State, queues: list[str], position: Position | None, limit: int) -> list[_Place]:
        """Where the next jobs stand, over all queues."""
        places: list[_Place] = []
        for name in queues:
            after = b""
            if position:
                queue, at, key = map(str, position)
                if state is State.READY and name < queue:
                    continue
                # A page of ready jobs goes on queue by queue; of others it goes on at the same score in each queue.
                if state is not State.READY or name == queue:
                    after = at.encode() + (b"" if state.ended else b" " + bytes.fromhex(key))  # several may share a score
            wanted = limit - len(places) if state is State.READY else limit
            flat = self._server.call("page", state.value, name, wanted, after)
            places += [_Place(name, key, at.decode()) for key, at in zip(flat[::2], flat[1::2], strict=True)]
            if state is State.READY and len(places) >= limit:
                break
        if state is not State.READY:
            places.sort(key=lambda place: place.rank(state))
        return places[:limit]

    def _views(self, state: State, places: Sequence[_Place]) -> dict[_Place, JobView]:
        """Of those that have not left this state meanwhile."""
        views: dict[_Place, JobView] = {}
        answers = looked_up(self._server, [place.key for place in places])
        for place, answer in zip(places, answers, strict=True):
            seen = view(place.key, answer, place.queue)
            if seen and seen.state is state:
                views[place] = seen
        return views

    def consumers(self) -> list[ConsumerView]:
        return [
            ConsumerView(its.decode(), name.decode(errors="replace"), queues_of(queues), int(held), float(deadline))
            for its, deadline, name, queues, held in self._server.call("consumers")
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        return self._change("cancel", ids)

    def retry(self, ids: Sequence[str]) -> list[str]:
        return self._change("retry", ids)

    def _change(self, what: str, ids: Sequence[str]) -> list[str]:
        by_key = {key_of(job_id): job_id for job_id in ids}
        keys, changed = list(by_key), []
        while keys:
            looked_at, some = self._server.call(what, *keys[:_BATCH])
            keys = keys[looked_at:]
            changed += [by_key[key] for key in some]
        return changed

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        gone = 0
        for (name, state), n in sorted(self.counts().items()):
            if state not in states or state is State.RUNNING or queue not in (None, name):
                continue
            last = min(limit, gone + n)  # no more than there were: limits may unblock others meanwhile
            while gone < last and (count := self._server.call("purge", state.value, name, last - gone)):
                gone += count
        return gone

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return [
            seen for part in batches(keys, _BATCH) for seen in map(_limit, part, self._server.call("view_limits", *part))
        ]

    def prune(self, *, limit: int = 1000) -> int:
        pruned: int = self._server.call("prune", limit)
        return pruned


def _limit(key: str, answer: Sequence[Any] | None) -> LimitView | None:
    if not answer:
        return None
    running, waiting, started, opens, ids = answer
    holders = [each.decode(errors="surrogateescape") for each in ids]
    return LimitView(key, running, holders, waiting, started, float(opens) if opens else None)
