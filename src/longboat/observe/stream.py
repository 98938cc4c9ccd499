"""The stream: what happens in every process, by way of the board, for as long as somebody listens.

Who listens keeps a note alive. Who has something to tell looks for such a note once a second, and only while there is one
writes batches: each under its own name and a number, with a head that says the last number, so that a listener misses none
and needs no common clock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from longboat.contract.kv import KV, Entry
from longboat.errors import BrokerError, BrokerUnavailable, Unsupported
from longboat.observe.events import AnyEvent, Event, EventsDropped

LISTENING = "listening"
LISTENING_KEPT = 10.0
"""Seconds that somebody is taken to listen after his last sign."""
RENEW = 2.0
LOOK = 1.0
"""Seconds after which a new listener is heard by all."""
BATCH_EVERY = 0.25
MOST = 500
"""Events of one batch, at most: more are counted and dropped, so that the telling never costs much."""
TOGETHER = 200
"""Events of one note, so that it stays far below what a note may hold."""
EVENTS = "events"
KEPT = 60.0
POLL = 0.2
NEWEST = 1500
"""Batches of one process that may be behind: all that a minute can bring."""
AT_ONCE = 100
"""Notes that one look reads, at most: a listener that was away finds the rest with the next ones."""
PAGE = 1000
NAMES = 10_000
"""Processes whose place is remembered, at most."""
_HEAD = "!"
_BATCH = "="
"""What the keys of heads and of batches begin with."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyEvent)
_batches = msgspec.msgpack.Decoder(list[msgspec.Raw])
_heads = msgspec.msgpack.Decoder(int)


class EventPublisher:
    """One process's way into the stream. `tell` may be called from any thread; `tend` belongs to one."""

    def __init__(self, kv: KV, who: str) -> None:
        self._kv = kv
        self.who = who
        self._name = f"{who[:200]}:{os.urandom(6).hex()}"
        self.open = True
        """Whether somebody listens; taken for so until it has been looked."""
        self.dropped = 0
        """Since the process began. Others may add to it."""
        self._told_dropped = 0
        self._number = 0
        self._pending: deque[Event] = deque()
        self._look_at = 0.0

    @property
    def room(self) -> int:
        return MOST - len(self._pending)

    def tell(self, event: Event) -> None:
        """Returns at once and never raises."""
        if len(self._pending) < MOST:
            self._pending.append(event)
        else:
            self.dropped += 1

    def run(self, now: float) -> float:
        """Look whether somebody listens, and write what there is; returns when to call again. May raise BrokerError.

        `now`: seconds of a clock that never goes back.
        """
        if now >= self._look_at or not self.open:
            self._look_at = now + LOOK
            try:
                self.open = bool(self._kv.entries(LISTENING, limit=1))
            except Unsupported:
                self.open = False
                raise
        pending = [self._pending.popleft() for _ in range(len(self._pending))]
        dropped = self.dropped
        if not self.open:
            self._told_dropped = dropped
            return now + LOOK
        told = [*pending]
        if dropped > self._told_dropped:
            told.append(EventsDropped(self.who, dropped - self._told_dropped))
        if told:
            try:
                self._write(told)
            except BrokerError:
                self._pending.extendleft(reversed(pending))  # for when it answers again: that it was down is told too
                raise
            self._told_dropped = dropped
        return now + BATCH_EVERY

    def _write(self, events: Sequence[Event]) -> None:
        entries = []
        for start in range(0, len(events), TOGETHER):
            self._number += 1
            value = _encoder.encode(events[start : start + TOGETHER])
            entries.append(Entry(_key(self._name, self._number), value, KEPT))
        entries.append(Entry(_HEAD + self._name, _encoder.encode(self._number), KEPT))
        self._kv.write(EVENTS, entries)


class Listening:
    """The stream as an iterator, for `for` and `async for`; it has no end but `close`.

    Events come from now on, at most about a second late at the start and half a second later. Those of one process come in
    the order in which it told them. While the broker is down it waits. Who takes longer than LISTENING_KEPT over one event
    misses some, and so does who is behind by more than KEPT.
    """

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._id = os.urandom(8).hex()
        self._renew_at = 0.0
        self._heads: dict[str, int] | None = None
        """By name: the last batch that was read."""
        self._ready: deque[Event] = deque()
        self._closed = threading.Event()

    def poll(self) -> list[Event]:
        """What has happened since the last call, by time. Does not wait. Raises BrokerError; then nothing is missed.

        Where there is very much it gives a part, and the next calls give the rest.
        """
        self._renew()
        found = self._read_heads()
        if self._heads is None:
            self._heads = found
            return []
        heads = {name: max(self._heads.get(name, 0), last - NEWEST) for name, last in found.items()}
        wanted: list[tuple[str, int]] = []
        part = max(1, AT_ONCE // max(1, sum(heads[name] < last for name, last in found.items())))
        for name, last in found.items():
            first, heads[name] = heads[name] + 1, min(last, heads[name] + part)
            wanted += [(name, number) for number in range(first, heads[name] + 1)]
        told: dict[str, list[Event]] = {}
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            for (name, _), value in zip(some, self._kv.read(EVENTS, [_key(*each) for each in some]), strict=True):
                if value is not None:
                    told.setdefault(name, []).extend(_decoded(value))
        self._heads = {**self._heads, **heads} if len(self._heads) < NAMES else heads
        return _merged(told.values())

    def close(self) -> None:
        """Listen no more. May be called from any thread; the iterator ends."""
        self._closed.set()
        with contextlib.suppress(BrokerError):  # then its time runs out
            self._kv.write(LISTENING, [Entry(self._id, None)])

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._ready and time.monotonic() >= self._renew_at:
            self._look()
        while not self._ready and not self._closed.is_set():
            self._look()
            if not self._ready:
                self._closed.wait(POLL)
        if self._closed.is_set():
            raise StopIteration
        return self._ready.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        import asyncio

        if self._ready and time.monotonic() >= self._renew_at:
            await asyncio.to_thread(self._look)
        while not self._ready and not self._closed.is_set():
            await asyncio.to_thread(self._look)
            if not self._ready:
                await asyncio.sleep(POLL)
        if self._closed.is_set():
            raise StopAsyncIteration
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def _look(self) -> None:
        """Say that somebody listens still, and hear more if all that was heard has been taken."""
        with contextlib.suppress(BrokerUnavailable):
            if self._ready:
                self._renew()
            else:
                self._ready.extend(self.poll())

    def _renew(self) -> None:
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW  # also where it fails: no event waits for a broker that is down
            self._kv.write(LISTENING, [Entry(self._id, b"", LISTENING_KEPT)])

    def _read_heads(self) -> dict[str, int]:
        heads: dict[str, int] = {}
        after = _HEAD
        while entries := self._kv.entries(EVENTS, after=after, before=chr(ord(_HEAD) + 1), limit=PAGE):
            heads.update((key[1:], _heads.decode(value)) for key, value in entries)
            after = entries[-1][0]
            if len(entries) < PAGE:
                break
        return heads


def _merged(told: Iterable[Sequence[Event]]) -> list[Event]:
    """By time, and those of one process as it told them, whatever its clock did meanwhile."""
    placed: list[tuple[float, Event]] = []
    for events in told:
        at = 0.0
        for event in events:
            at = max(at, event.at)
            placed.append((at, event))
    placed.sort(key=lambda one: one[0])
    return [event for _, event in placed]


def _decoded(value: bytes) -> list[Event]:
    """The events of a batch; kinds that a newer version tells of are left out."""
    events: list[Event] = []
    for raw in _batches.decode(value):
        with contextlib.suppress(msgspec.ValidationError):
            events.append(_decoder.decode(raw))
    return events


def _key(name: str, number: int) -> str:
    return f"{_BATCH}{name}:{number:012d}"
