"""Desk: the object that the manager publishes. It puts what clients ask for to the store behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import msgspec

from longboat.brokers.manager import frames
from longboat.brokers.manager.counter import Ear, Guest
from longboat.brokers.manager.wire import VERBS, EntryPage, Received, Settled, encode, fitting
from longboat.contract.broker import Broker, Pulse
from longboat.contract.kv import Entry
from longboat.contract.transfer import ExportedJob
from longboat.core.clock import SYSTEM
from longboat.core.job import Failure, Job, Result, State
from longboat.core.views import ConsumerView, JobView, LimitView, Page
from longboat.errors import BrokerError, BrokerUnavailable, TooLarge

SILENT = 60.0
"""Seconds, and at least twice the lease: who is not heard of for so long is forgotten. The store has given its jobs back."""
_TIDY = 10.0
_MARGIN = 100
"""Bytes of a frame beside the answer, at most."""


class Dispatcher:
    """Every verb of the contract, over any broker. Safe to use from several threads; who waits blocks nobody else."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._guests: dict[str, Guest] = {}
        self._ears: dict[str, Ear] = {}
        self._lock = threading.Lock()
        self._tidied = SYSTEM.monotonic()
        self._closed = False

    def call(self, name: str, data: bytes) -> bytes:
        """Do what a verb of wire.py asks for. Raises what the store raises, ValueError for what is no such request."""
        verb = VERBS.get(name)
        if verb is None:
            raise BrokerError(f"this server does not know {name!r}: it is of an older version than its client")
        if self._closed:
            raise BrokerUnavailable("the server is about to end")
        try:
            arguments = verb.asked.decode(data)
        except msgspec.MsgspecError as error:
            raise BrokerError(f"this is no {name!r} that the server knows: {error}") from None
        answer = encode(getattr(self, f"_{name}")(*arguments))
        if len(answer) > frames.FRAME_LIMIT - _MARGIN:
            raise TooLarge(f"the answer has {len(answer):,} bytes, over the limit of a message: ask for fewer at a time")
        return answer

    def close(self) -> None:
        """Hand back what clients hold, and end their waiting. Idempotent."""
        with self._lock:
            self._closed = True
            gone: list[Guest | Ear] = [*self._guests.values(), *self._ears.values()]
            self._guests.clear()
            self._ears.clear()
        for each in gone:
            with contextlib.suppress(BrokerError):  # then its jobs come back when the lease ends
                each.close()

    # --- callers and workers

    def _capabilities(self) -> list[str]:
        return sorted(self._broker.capabilities)

    def _put(self, jobs: Sequence[Job], client: str, number: int) -> list[str]:
        return self._broker.put(jobs, token=(client, number))

    def _register(self, queues: Sequence[str], lease: float, tasks: Sequence[str], name: str) -> str:
        self._tidy()
        guest = Guest(self._broker.consumer(queues, lease=lease, tasks=tasks, name=name), lease)
        with self._lock:
            self._guests[guest.consumer.id] = guest
        return guest.consumer.id

    def _receive(self, consumer: str, number: int, n: int, wait: float) -> Received:
        guest = self._guests.get(consumer)
        return Received([], gone=True) if guest is None else guest.receive(number, n, wait)

    def _inputs(self, consumer: str, number: int, start: int) -> list[bytes] | None:
        guest = self._guests.get(consumer)
        return None if guest is None else guest.inputs(number, start)

    def _settle(self, consumer: str, settlements: Sequence[Settled], started: Sequence[int]) -> list[int]:
        guest = self._guests.get(consumer)
        if guest is None:
            return [*started, *(each.number for each in settlements)]
        return guest.settle(settlements, started)

    def _extend(self, consumer: str) -> Pulse:
        guest = self._guests.get(consumer)
        if guest is None:
            return Pulse(False)
        guest.heard = SYSTEM.monotonic()
        return guest.consumer.extend()

    def _pause(self, consumer: str, queues: Sequence[str], tasks: Sequence[str]) -> None:
        if guest := self._guests.get(consumer):
            guest.pause(queues, tasks)

    def _wake(self, consumer: str) -> None:
        if guest := self._guests.get(consumer):
            guest.consumer.wake()

    def _unregister(self, consumer: str) -> None:
        guest = self._guests.get(consumer)
        if guest is not None:
            guest.close()
            self._guests.pop(consumer, None)

    def _evict(self, consumer: str, failure: Failure) -> int:
        return self._broker.evict(consumer, failure)

    # --- results

    def _get(self, ids: Sequence[str]) -> list[Result | None]:
        return self._broker.results.get(ids)

    def _watch(self, listener: str, ids: Sequence[str]) -> bool:
        """Whether the listener is new here: it has to watch all that it watched before."""
        with self._lock:
            ear = self._ears.get(listener)
            new = ear is None
            if ear is None:
                ear = self._ears[listener] = Ear(self._broker.results.listen())
        ear.heard = SYSTEM.monotonic()
        ear.listener.watch(ids)
        return new

    def _forget(self, listener: str, ids: Sequence[str]) -> None:
        if ear := self._ears.get(listener):
            ear.listener.forget(ids)

    def _wait(self, listener: str, seconds: float) -> list[Result] | None:
        ear = self._ears.get(listener)
        return None if ear is None else ear.wait(seconds)

    def _wake_listener(self, listener: str) -> None:
        if ear := self._ears.get(listener):
            ear.listener.wake()

    def _unlisten(self, listener: str) -> None:
        with self._lock:
            ear = self._ears.pop(listener, None)
        if ear is not None:
            ear.close()

    # --- the inspector

    def _counts(self) -> list[tuple[str, State, int]]:
        return [(queue, state, n) for (queue, state), n in self._broker.inspector.counts().items()]

    def _find(self, ids: Sequence[str]) -> list[JobView | None]:
        return self._broker.inspector.find(ids)

    def _jobs(self, state: State, queue: str | None, task: str | None, after: str | None, limit: int) -> Page:
        return self._broker.inspector.jobs(state, queue=queue, task=task, after=after, limit=limit)

    def _consumers(self) -> list[ConsumerView]:
        return self._broker.inspector.consumers()

    def _cancel(self, ids: Sequence[str]) -> list[str]:
        return self._broker.inspector.cancel(ids)

    def _retry(self, ids: Sequence[str]) -> list[str]:
        return self._broker.inspector.retry(ids)

    def _purge(self, states: Sequence[State], queue: str | None, limit: int) -> int:
        return self._broker.inspector.purge(states, queue=queue, limit=limit)

    def _prune(self, limit: int) -> int:
        return self._broker.inspector.prune(limit=limit)

    def _limits(self, keys: Sequence[str]) -> list[LimitView | None]:
        return self._broker.inspector.limits(keys)

    # --- the board

    def _read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        return self._broker.kv.read(namespace, keys)

    def _entries(self, namespace: str, after: str, before: str | None, limit: int) -> EntryPage:
        entries = self._broker.kv.entries(namespace, after=after, before=before, limit=limit)
        count = fitting([len(key) + len(value) for key, value in entries])
        return EntryPage(entries[:count], more=count < len(entries))

    def _write(self, namespace: str, entries: Sequence[Entry]) -> None:
        self._broker.kv.write(namespace, entries)

    def _put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        return self._broker.kv.put_if_absent(namespace, entries)

    def _compare_and_set(self, namespace: str, entry: Entry, old: bytes | None) -> bool:
        return self._broker.kv.compare_and_set(namespace, entry, old=old)

    # --- jobs on their way between stores

    def _export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        return self._broker.transfer.export_jobs(name, ids)

    def _unconfirmed(self) -> list[str]:
        return self._broker.transfer.unconfirmed()

    def _import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        return self._broker.transfer.import_jobs(name, exported_jobs)

    def _confirm(self, name: str) -> None:
        self._broker.transfer.confirm(name)

    def _tidy(self) -> None:
        """Forget those whose clients are gone."""
        now = SYSTEM.monotonic()
        gone: list[Guest | Ear] = []
        with self._lock:
            if now - self._tidied < _TIDY:
                return
            self._tidied = now
            for consumer, guest in list(self._guests.items()):
                if now - guest.heard > max(SILENT, 2 * guest.lease):
                    gone.append(self._guests.pop(consumer))
            for listener, ear in list(self._ears.items()):
                if now - ear.heard > SILENT:
                    gone.append(self._ears.pop(listener))
        for each in gone:
            with contextlib.suppress(BrokerError):
                each.close()
