"""The KV on RabbitMQ alone: a stream of the server, which all who use it read from its last snapshot on.

A stream is a log that the server keeps. A write is one more line of it, and its outcome is known when the writer reads that
line itself. All read the same lines in the same order, so `put_if_absent` and `compare_and_set` are decided alike by all.
Reads are of this process's own copy, a few milliseconds old at most.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from longboat.brokers.rabbitmq.holding import GONE, get
from longboat.brokers.rabbitmq.link import Link, Publish, Unroutable
from longboat.brokers.rabbitmq.replica import Command, Replica
from longboat.brokers.rabbitmq.session import Session
from longboat.brokers.rabbitmq.topology import OTHERWISE
from longboat.contract.base_forks import remake_after_fork
from longboat.contract.base_kv import check_entries
from longboat.contract.capabilities import Capability, unsupported
from longboat.contract.kv import Entry
from longboat.core.job import new_id
from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable, StoreTooNew, Unsupported, again

LAYOUT = 1
"""Grows with every change of what the lines mean. Each line says it in a header."""
VERSION = "longboat-layout"

ROOM = 64_000_000
"""Bytes of all entries together: every process has a copy."""
ASK_AGAIN = 60.0
"""Seconds until a server that refused a stream is asked again."""
PATIENCE = 5
"""Times the session's time limit until a log is read."""
LATER = 0.1
"""Seconds until a stream that has no replica yet is looked for again."""
MANY = 500
"""Lines that the server pushes before the first of them is acknowledged."""


class StreamKV:
    """Nothing is read before the first use. A forked child has a copy of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.after_fork()
        remake_after_fork(self)

    def after_fork(self) -> None:
        self._me = new_id()
        self._replica = Replica(self._me)
        self._reading = self._replica
        """What is read just now: as good as `_replica` once it has read all that was there before."""
        self._number = 0
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._told = threading.Condition(self._lock)
        self._was_open = False
        self._newest = LAYOUT
        """The newest layout that a line was in: who skips what it cannot read would have other entries than the others."""
        self._refused: tuple[Unsupported, float] | None = None
        """Why there is no stream, and the monotonic time at which to ask again."""
        self._done: dict[int, list[bool] | None] = {}
        """By the number of a command that somebody waits for; None: it has not been read yet."""

    # --- the KV

    def open(self) -> None:
        self._open()

    def count(self, namespace: str) -> int:
        """About, as far as is known without asking."""
        return self._replica.count(namespace)

    def peek(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return self._replica.read(namespace, keys)

    def peek_all(self, namespace: str, limit: int) -> list[tuple[str, bytes]]:
        with self._lock:
            return self._replica.entries(namespace, "", None, limit)

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        self._open()
        return self.peek(namespace, keys)

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        self._open()
        with self._lock:
            return self._replica.entries(namespace, after, before, limit)

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        if entries:
            self._change(Command("write", self._me, 0, time.time(), namespace, list(entries)))

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        return self._change(Command("absent", self._me, 0, time.time(), namespace, list(entries))) if entries else []

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        return self._change(Command("compare", self._me, 0, time.time(), namespace, [entry], old))[0]

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    # --- the log

    def _change(self, command: Command) -> list[bool]:
        check_entries(command.namespace, command.entries)
        self._open()
        size = sum(len(entry.value or b"") for entry in command.entries)
        if size and self._replica.size + size > ROOM:
            raise BrokerFull(
                f"the entries on RabbitMQ alone have room for {ROOM // 1_000_000} MB, since every process has a copy. "
                "Keep a store beside it: ?results=redis://…"
            )
        return self._say(command, self._session.timeout)

    def _say(self, command: Command, patience: float) -> list[bool]:
        """Write the line and read it again. Raises BrokerUnavailable, and then it may have been written."""
        with self._lock:
            self._number += 1
            number = command.number = self._number
            self._done[number] = None
        try:
            self._write(command)
            with self._told:
                self._told.wait_for(lambda: self._done[number] is not None or self._deaf(), patience)
                did = self._done[number]
        finally:
            with self._lock:
                del self._done[number]
        if did is None:
            raise BrokerUnavailable(f"{self._session.where}: what was written to a stream was not read in {patience:g} s")
        return did

    def _write(self, *commands: Command) -> None:
        stream = self._session.names.stream
        publishes = [Publish("", stream, msgspec.msgpack.encode(each), {VERSION: LAYOUT}, self._me) for each in commands]
        try:
            self._session.publish(publishes, lambda topology: topology.stream())
        except (BrokerFull, Unroutable) as error:  # no limit refuses a line: the stream is just being made, or moved
            raise BrokerUnavailable(f"{error}. It was the stream {stream!r}") from None

    def _deaf(self) -> bool:
        return self._link is None or self._link.lost is not None

    def _behind(self) -> bool:
        """There may be entries that this copy lacks."""
        return self._deaf() or self._reading is not self._replica

    def _open(self) -> None:
        """See to it that the log is read, up to now at least if it was not.

        Raises BrokerUnavailable, StoreTooNew, or Unsupported where the server has no streams, or none for this user.
        """
        if self._behind():
            with self._opening:
                self._read_up_to_now()
        if self._newest > LAYOUT:
            raise StoreTooNew(
                f"{self._session.where}: a newer Longboat wrote into the stream {self._session.names.stream!r} "
                f"(layout {self._newest}; this one knows {LAYOUT}). Jobs still run. Upgrade Longboat here."
            )

    def _read_up_to_now(self) -> None:
        if self._refused and time.monotonic() < self._refused[1]:
            raise again(self._refused[0])
        try:
            if self._behind():
                self._begin()
        except BrokerError as error:
            if self._was_open or (isinstance(error, BrokerUnavailable) and not isinstance(error, BrokerMisconfigured)):
                raise
            refused = unsupported(Capability.KV, "RabbitMQ", instead=f"The server refuses a stream: {error}")
            self._refused = refused, time.monotonic() + ASK_AGAIN
            raise again(refused) from None

    def _begin(self) -> None:
        if self._link is not None:
            self._link.close()
        link = self._session.link("longboat-rabbitmq-kv")
        try:
            self._session.topology(link).stream()
        except BrokerUnavailable as error:
            if getattr(link.lost, "reply_code", 0) != GONE:
                raise
            place = f'<<"{self._session.parameters.virtual_host}">>, queue, <<"{self._session.names.stream}">>'
            raise BrokerUnavailable(
                f"{error}. Jobs still run. If this lasts, the server was killed within a second of making its first stream, "
                f"and has lost it. This lets it begin anew, empty: "
                f"rabbitmqctl eval 'rabbit_amqqueue:internal_delete(rabbit_misc:r({place}), <<\"longboat\">>).'"
            ) from None
        newest = self._newest_snapshot(link)
        self._listen_once_there(link, "first" if newest is None else newest)
        try:
            self._say(Command("mark", self._me, 0, time.time()), PATIENCE * self._session.timeout)
        except BrokerUnavailable:
            if newest is None or link.lost is not None:
                raise
            link.close()  # a stream that was deleted since has no such place
            self._listen(self._session.link("longboat-rabbitmq-kv"), "first")
            self._say(Command("mark", self._me, 0, time.time()), PATIENCE * self._session.timeout)
        self._replica = self._reading
        self._was_open = True

    def _listen_once_there(self, link: Link, offset: int | str) -> None:
        """The server refuses who comes between the declaration of a stream, by another process, and its first replica."""
        give_up = time.monotonic() + self._session.timeout
        while True:
            try:
                self._listen(link, offset)
            except BrokerError:
                if getattr(link.lost, "reply_code", 0) != OTHERWISE or time.monotonic() > give_up:
                    raise
                time.sleep(LATER)
                link = self._session.link("longboat-rabbitmq-kv")
            else:
                return

    def _listen(self, link: Link, offset: int | str) -> None:
        """Read from there on, and know only what is read."""
        replica = Replica(self._me)

        def arrive(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            self._note(properties.headers.get(VERSION))
            self._take(replica, int(properties.headers["x-stream-offset"]), body)

        def consume(channel: Any, answered: Any) -> None:
            channel.add_on_cancel_callback(lambda _: link.end(ConnectionError("the stream was deleted")))
            channel.basic_qos(prefetch_count=MANY)
            arguments = {"x-stream-offset": offset}
            channel.basic_consume(self._session.names.stream, arrive, arguments=arguments, callback=answered)

        link.on_lost = self._lost
        try:
            link.do(consume)
        except BaseException:
            link.close()
            raise
        self._link, self._reading = link, replica

    def _newest_snapshot(self, link: Link) -> int | None:
        """Where it was begun."""
        got: Any = link.do(lambda channel, answered: get(channel, self._session.names.snapshot, answered))
        if got is None:
            return None
        method, _, body = got
        link.post(lambda channel: channel.basic_reject(method.delivery_tag, requeue=True))
        return int(body) if body.isdigit() else None

    # --- in the link's thread

    def _note(self, version: object) -> None:
        if isinstance(version, int):
            self._newest = max(self._newest, version)

    def _take(self, replica: Replica, place: int, body: bytes) -> None:
        with self._told:
            for number, did in replica.take(place, body):
                if number in self._done:
                    self._done[number] = did
                    self._told.notify_all()
            snapshot, replica.snapshot = replica.snapshot, []
            wanted, replica.wanted = replica.wanted, False
        if snapshot or wanted:
            threading.Thread(target=self._write_down, args=(snapshot,), daemon=True, name="longboat-rabbitmq-kv").start()

    def _write_down(self, snapshot: list[Command]) -> None:
        """A snapshot that was begun, or the wish to begin one: the first of those who wish is heard."""
        try:
            if not snapshot:
                time.sleep(random.random())
                self._write(Command("begin", self._me, 0, time.time()))
                return
            self._write(*snapshot)
            piece = snapshot[0].piece
            if piece is not None:
                at = str(piece.begun).encode()
                self._session.publish([Publish("", self._session.names.snapshot, at, {}, self._me)])
        except BrokerError:
            return  # somebody will begin another

    def _lost(self) -> None:
        with self._told:
            self._told.notify_all()
