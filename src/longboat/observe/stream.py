"""The stream: what happens in every process, through the broker's key-value entries, while somebody listens.

Each listener keeps an entry alive. Publishers look for such an entry once a second and write batches only while there is
one. A batch's key holds the publisher's name and a number; a head entry holds the last number. So a listener misses none,
and needs no common clock.

A broker with Capability.BROADCAST, where each process has a copy of all entries, tells the batches to the listeners alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import isfinite
from types import TracebackType
from typing import Self

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.carrier import Ear
from longboat.contract.kv import ENTRY_LIMIT, KV, Entry
from longboat.contract.optional import Broadcasts, broadcasts
from longboat.core import codec
from longboat.errors import BrokerError, BrokerUnavailable, Unsupported
from longboat.observe.events import AnyEvent, Event, EventsDropped
from longboat.observe.history import pages

LISTENING = "listening"
LISTENING_KEPT = 10.0
"""Seconds after its last renewal that a listener counts as listening."""
RENEW = 2.0
LOOK = 1.0
"""Seconds until every publisher has noticed a new listener."""
BATCH_EVERY = 0.25
MOST = 500
"""Events of one batch, at most; further ones are counted and dropped, so that publishing never costs much."""
TOGETHER = 200
ROOM = ENTRY_LIMIT // 2
"""Events, and bytes of events, of one entry, at most."""
EVENTS = "events"
KEPT = 60.0
POLL = 0.2
NEWEST = 1500
"""Batches of one publisher that a listener may be behind: all that a minute can bring."""
AT_ONCE = 100
"""Entries that one poll reads, at most: a listener that was away reads the rest with the next polls."""
NAMES = 10_000
"""Publishers whose position is remembered, at most."""
_HEAD = "!"
_BATCH = "="
"""First character of the keys of heads and of batches."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyEvent)


class EventPublisher:
    """One process's way into the stream. Any thread may call `tell`; only one may call `run`."""

    def __init__(self, kv: KV, who: str, broadcasts: Callable[[], Broadcasts | None] = lambda: None) -> None:
        """`broadcasts`: asked once the broker has answered."""
        self.kv = kv
        self.who = who
        self._broadcasts = broadcasts
        self._name = f"{who[:200]}:{os.urandom(6).hex()}"
        self.open = True
        """Whether somebody listens. Assumed to be so until the first look."""
        self.dropped = 0
        """Events dropped since the process started. Others may add to it."""
        self._told_dropped = 0
        self._number = 0
        self._pending: deque[Event] = deque()
        self._look_at = 0.0

    @classmethod
    def of(cls, broker: Broker, who: str) -> EventPublisher:
        """One of a broker."""
        return cls(broker.kv, who, partial(broadcasts, broker))

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
        """Check whether somebody listens, and write what there is; returns when to call again. May raise BrokerError.

        `now`: seconds of a monotonic clock.
        """
        if now >= self._look_at or not self.open:
            self._look_at = now + LOOK
            try:
                self.open = bool(self.kv.entries(LISTENING, limit=1))
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
                self._pending.extendleft(reversed(pending))  # for when it answers again: they say that it was down
                raise
            self._told_dropped = dropped
        return now + BATCH_EVERY

    def _write(self, events: Sequence[Event]) -> None:
        entries, telling = [], self._broadcasts()
        for batch in _batched([msgspec.Raw(_encoder.encode(event)) for event in events]):
            self._number += 1
            if telling is not None:
                telling.broadcast(_encoder.encode((self._name, self._number, batch)))
                continue
            entries.append(Entry(_key(self._name, self._number), _encoder.encode(batch), KEPT))
        if entries:
            entries.append(Entry(_HEAD + self._name, _encoder.encode(self._number), KEPT))
            self.kv.write(EVENTS, entries)


def _batched(events: Sequence[msgspec.Raw]) -> Iterator[Sequence[msgspec.Raw]]:
    """As many in each as an entry has room for: a failure alone may have 64 kB."""
    start = size = 0
    for at, event in enumerate(events):
        size += len(bytes(event))
        if at > start and (size > ROOM or at - start == TOGETHER):
            yield events[start:at]
            start, size = at, len(bytes(event))
    if events:
        yield events[start:]


class EventStream:
    """The stream as an iterator, for `for` and `async for`; only `close` ends it.

    It gives events from now on, at first up to a second late, later half a second. Events of one process come in the order
    in which it sent them. While the broker is down it waits. A listener that takes longer than LISTENING_KEPT over one event
    misses some, and so does one that is behind by more than KEPT. RabbitMQ without a store tells nothing to a listener while
    its connection is lost.
    """

    def __init__(self, kv: KV, broadcasts: Callable[[], Broadcasts | None] = lambda: None) -> None:
        """`broadcasts`: asked once the broker has answered."""
        self._kv = kv
        self._broadcasts = broadcasts
        self._overheard: _Overheard | None = None
        self._id = os.urandom(8).hex()
        self._renew_at = 0.0
        self._heads: dict[str, int] | None = None
        """The number of the last batch read, by publisher."""
        self._ready: deque[Event] = deque()
        self._closed = threading.Event()

    @classmethod
    def of(cls, broker: Broker) -> EventStream:
        """That of a broker."""
        return cls(broker.kv, partial(broadcasts, broker))

    def poll(self) -> list[Event]:
        """What has happened since the last call, by time. Does not wait. If it raises BrokerError, nothing is missed.

        If there is very much, it gives a part, and the next calls give the rest.
        """
        self._renew()
        if self._overheard is None and (telling := self._broadcasts()) is not None:
            self._overheard = _Overheard(telling)
        if self._overheard is not None:
            return self._overheard.events()
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
        """Stop listening; the iterator ends. Any thread may call it."""
        self._closed.set()
        if self._overheard is not None:
            self._overheard.close()
        with contextlib.suppress(BrokerError):  # then the entry expires by itself
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
        """Renew, and poll if all events so far have been taken."""
        with contextlib.suppress(BrokerUnavailable):
            if self._ready:
                self._renew()
            else:
                self._ready.extend(self.poll())

    def _renew(self) -> None:
        if time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + RENEW  # even if it fails: no event waits for a broker that is down
            self._kv.write(LISTENING, [Entry(self._id, b"", LISTENING_KEPT)])

    def _read_heads(self) -> dict[str, int]:
        every = pages(self._kv, EVENTS, _HEAD, chr(ord(_HEAD) + 1))
        heads = {key[1:]: codec.decoded(value, int) for entries in every for key, value in entries}
        return {name: head for name, head in heads.items() if head is not None}


class _Overheard:
    """What is broadcast, until it is asked for."""

    def __init__(self, broadcasts: Broadcasts) -> None:
        self._broadcasts = broadcasts
        self._bodies: deque[bytes] = deque(maxlen=NEWEST)
        self._numbers: dict[str, int] = {}
        """Of the last batch heard, by publisher."""
        self._ear: Ear | None = None

    def events(self) -> list[Event]:
        """What was heard since the last call, by time. Raises BrokerError while nothing can be heard."""
        if self._ear is None or self._ear.lost:
            self._ear = self._broadcasts.overhear(self._bodies.append, lambda: None)
        told: dict[str, list[Event]] = {}
        for body in [self._bodies.popleft() for _ in range(min(len(self._bodies), AT_ONCE))]:
            name, number, batch = codec.decoded(body, tuple[str, int, msgspec.Raw]) or ("", 0, msgspec.Raw(b"\x90"))
            left_out = number - self._numbers.get(name, number - 1) - 1
            if len(self._numbers) >= NAMES:
                self._numbers.clear()
            self._numbers[name] = number
            events = told.setdefault(name, [])
            if left_out > 0:  # so many batches, of one event at least
                events.append(EventsDropped(name.rpartition(":")[0], left_out))
            events += _decoded(bytes(batch))
        return _merged(told.values())

    def close(self) -> None:
        if self._ear is not None:
            self._ear.close()


def _merged(told: Iterable[Sequence[Event]]) -> list[Event]:
    """By time, but those of one process in its order, whatever its clock did meanwhile."""
    placed: list[tuple[float, Event]] = []
    for events in told:
        at = 0.0
        for event in events:
            at = max(at, event.at)
            placed.append((at, event))
    placed.sort(key=lambda one: one[0])
    return [event for _, event in placed]


def _decoded(value: bytes) -> list[Event]:
    """The events of a batch; what cannot be read is left out, such as kinds that only a newer version knows."""
    events: list[Event] = []
    for raw in codec.decoded(value, list[msgspec.Raw]) or ():
        with contextlib.suppress(*codec.DECODE_ERRORS):
            events.append(_decoder.decode(raw))
    return [event for event in events if isfinite(event.at)]


def _key(name: str, number: int) -> str:
    return f"{_BATCH}{name}:{number:012d}"
