"""RedisInspector: looks at the server's jobs, and an operator's changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Server
from longboat.brokers.redis.views import view
from longboat.core.job import State
from longboat.core.views import ConsumerView, JobView, LimitView, Page
from longboat.errors import ConfigError

_BATCH = 500
_LOOKED_AT = 1000
"""Jobs that one page of a single task's looks at, at most."""


class RedisInspector:
    def __init__(self, server: Server) -> None:
        self._server = server

    def counts(self) -> Mapping[tuple[str, State], int]:
        flat = self._server.call("counts")
        counts = {}
        for field, n in zip(flat[::2], flat[1::2], strict=True):
            state, _, queue = field.decode(errors="surrogateescape").partition(":")
            if int(n) > 0:
                counts[queue, State(state)] = int(n)
        return counts

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        found: list[JobView | None] = []
        for start in range(0, len(ids), _BATCH):
            part = ids[start : start + _BATCH]
            keys = [key_of(job_id) for job_id in part]
            views = map(view, keys, self._server.call("find", *keys))
            found += [seen if seen and seen.id == job_id else None for seen, job_id in zip(views, part, strict=True)]
        return found

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        queues = [queue] if queue is not None else sorted(name for name, its in self.counts() if its is state)
        cursor = _cursor(after)
        looked_at = limit if task is None else max(limit, _LOOKED_AT)
        places = self._places(state, queues, cursor, looked_at + 1)
        views = self._views(state, places[:looked_at])
        found: list[JobView] = []
        last: _Place | None = None
        for seen, place in zip(views, places, strict=False):
            if seen is None or (task is not None and seen.task != task):
                continue
            if len(found) == limit:
                break
            found.append(seen)
            last = place
        else:
            last = places[looked_at - 1] if len(places) > looked_at else None
        return Page(found, json.dumps(last.after) if last else None)

    def _places(self, state: State, queues: list[str], cursor: list[str], limit: int) -> list[_Place]:
        """Where the next jobs stand, over all queues."""
        places: list[_Place] = []
        for name in queues:
            after: str | bytes = ""
            if cursor:
                if state is State.READY and name < cursor[0]:
                    continue
                if state is not State.READY:
                    after = _behind(state, cursor)
                elif name == cursor[0]:
                    after = cursor[1].encode() + b" " + bytes.fromhex(cursor[2])
            flat = self._server.call(
                "page", state.value, name, limit - len(places) if state is State.READY else limit, after
            )
            places += [_Place(name, key, at.decode()) for key, at in zip(flat[::2], flat[1::2], strict=True)]
            if state is State.READY and len(places) >= limit:
                break
        if state is not State.READY:
            places.sort(key=lambda place: place.rank(state))
        return places[:limit]

    def _views(self, state: State, places: list[_Place]) -> list[JobView | None]:
        """None for those that have left this state meanwhile."""
        views: list[JobView | None] = []
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            answers = self._server.call("find", *(place.key for place in part))
            seen = [view(place.key, answer, place.queue) for place, answer in zip(part, answers, strict=True)]
            views += [each if each and each.state is state else None for each in seen]
        return views

    def consumers(self) -> list[ConsumerView]:
        return [
            ConsumerView(its.decode(), name.decode(errors="replace"), json.loads(queues), int(held), float(deadline))
            for its, deadline, name, queues, held in self._server.call("consumers")
        ]

    def cancel(self, ids: Sequence[str]) -> list[str]:
        return self._change("cancel", ids)

    def retry(self, ids: Sequence[str]) -> list[str]:
        return self._change("revive", ids)

    def _change(self, what: str, ids: Sequence[str]) -> list[str]:
        by_key = {key_of(job_id): job_id for job_id in ids}
        keys, changed = list(by_key), []
        for start in range(0, len(keys), _BATCH):
            changed += self._server.call(what, *keys[start : start + _BATCH])
        return [by_key[key] for key in changed]

    def purge(self, states: Collection[State], *, queue: str | None = None, limit: int = 1000) -> int:
        gone = 0
        for (name, state), n in sorted(self.counts().items()):
            if state not in states or state is State.RUNNING or queue not in (None, name):
                continue
            last = min(limit, gone + n)  # no more than there were: limits may let in others meanwhile
            while gone < last and (count := self._server.call("purge", state.value, name, last - gone)):
                gone += count
        return gone

    def limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        views: list[LimitView | None] = []
        for start in range(0, len(keys), _BATCH):
            part = keys[start : start + _BATCH]
            views += [_limit(*pair) for pair in zip(part, self._server.call("gate_views", *part), strict=True)]
        return views

    def prune(self, *, limit: int = 1000) -> int:
        pruned: int = self._server.call("prune", limit)
        return pruned


def _limit(key: str, answer: Sequence[Any] | None) -> LimitView | None:
    if not answer:
        return None
    running, waiting, started, opens, ids = answer
    holders = [each.decode(errors="surrogateescape") for each in ids]
    return LimitView(key, running, holders, waiting, started, float(opens) if opens else None)


class _Place:
    """Where a page found a job."""

    __slots__ = ("at", "key", "queue")

    def __init__(self, queue: str, key: bytes, at: str) -> None:
        self.queue = queue
        self.key = key
        self.at = at

    @property
    def after(self) -> list[str]:
        return [self.queue, self.at, self.key.hex()]

    def rank(self, state: State) -> tuple[Any, ...]:
        score = float(self.at)
        return (-score,) if state.ended else (score, self.key)


def _behind(state: State, cursor: list[str]) -> str | bytes:
    """Where each queue's page goes on: behind the job that the page before ended with, whatever queue that was of."""
    _, score, key = cursor
    return score if state.ended else score.encode() + b" " + bytes.fromhex(key)  # several may share a score


def _cursor(after: str | None) -> list[str]:
    if after is None:
        return []
    try:
        cursor = json.loads(after)
        if len(cursor) == 3 and all(isinstance(part, str) for part in cursor):
            return list(cursor)
    except (ValueError, TypeError):
        pass
    raise ConfigError(f"{after!r} is not where a page ended")
