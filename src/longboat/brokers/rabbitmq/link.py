"""One connection with one channel, driven by a thread of its own; calls from other threads wait for their answers."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import pika
import pika.exceptions
from pika.spec import Basic

from longboat.brokers.rabbitmq.names import cut
from longboat.brokers.rabbitmq.wire import Connection, message_frames
from longboat.errors import BrokerError, BrokerFull, BrokerMisconfigured, BrokerUnavailable

CLOSING = 0.05
"""Seconds that pika has to close the socket of a connection that has ended."""

REFUSED = (403, 405, 406, 530)
"""Replies of the server that trying again does not mend."""


if logging.getLogger("pika").level == logging.NOTSET:
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs each step of a connection; what fails is raised here


class Publish(msgspec.Struct, gc=False):
    """A message as the server takes it."""

    exchange: str
    key: str
    body: bytes
    headers: dict[str, Any]
    id: str = ""
    reply: str = ""
    """Its `reply_to`."""
    mandatory: bool = True
    """It must find a queue; else it may be lost."""


class Unroutable(BrokerError):
    """Mandatory messages found no queue: somebody deleted it. The others of the call are stored.

    It can be made again of its `args`, since each of several callers is raised an error of its own.
    """

    def __init__(self, text: str, messages: Sequence[Publish] = ()) -> None:
        super().__init__(text, messages)
        self.messages = messages

    def __str__(self) -> str:
        return str(self.args[0])


def reason(error: BaseException) -> str:
    """What happened, where pika wraps it in errors that say nothing."""
    while True:
        within = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args]
        inner = next((each for each in reversed(within) if isinstance(each, BaseException)), None)
        if inner is None:
            return str(error) or type(error).__name__
        error = inner


class _Done:
    """An event that is waited for once: threading.Event takes thrice as long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was set before
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        return self._lock.acquire(timeout=seconds)


class _PublishBatch:
    def __init__(self, messages: Sequence[Publish]) -> None:
        self.messages = messages
        self.left = len(messages)
        self.done = _Done()
        self.refused = False
        self.returned: list[Publish] = []


class Link:
    """Opens in its constructor; raises BrokerUnavailable, or BrokerMisconfigured for a password or vhost that is refused.

    Once lost it stays lost: make another.
    """

    def __init__(self, parameters: pika.URLParameters, timeout: float, where: str, name: str, patience: float) -> None:
        """`timeout`: seconds that a call may take; `patience`: that opening may take."""
        self.timeout = timeout
        self.where = where
        self.lost: Exception | None = None
        self.blocked = False
        self.on_lost: Callable[[], None] = lambda: None
        self._ready = threading.Event()
        self._waiting: set[_Done] = set()
        self._batches: dict[int, _PublishBatch] = {}
        self._oldest = 1
        self._published = 0
        self._publishing = threading.Lock()
        """Messages are numbered in the order in which they are sent."""
        self.channel: Any = None
        self._connection = Connection(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=lambda _, error: self._fail(error),
            on_close_callback=lambda _, error: self._fail(error),
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        if not self._ready.wait(patience):
            self._fail(TimeoutError(f"no answer in {patience:g} s"))
        self.check()

    @property
    def server(self) -> str:
        """Its name and version."""
        said = self._connection.server_properties or {}
        return f"{said.get('product', 'unknown')} {said.get('version', '')}".strip()

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:
            self._fail(error)
        finally:
            self._connection.ioloop.close()

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(lambda *_: setattr(self, "blocked", True))
        connection.add_on_connection_unblocked_callback(lambda *_: setattr(self, "blocked", False))
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_close_callback(lambda _, error: self._fail(error))
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready.set())

    def end(self, error: Exception) -> None:
        """Give the connection up; from the link's thread or any other."""
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self.lost is None:
            self.lost = error
            for event in list(self._waiting):
                event.set()
            self.on_lost()
        self._ready.set()
        self._stop()

    def _stop(self) -> None:
        if self._connection.is_open:
            self._soon(self._end)
        elif not self._connection.is_closing:
            self._soon(self._give_up)

    def _end(self) -> None:
        self._connection.ioloop.call_later(self.timeout / 2, self._give_up)  # who is frozen or blocks does not answer
        if self._connection.is_open:
            self._connection.close()

    def _give_up(self) -> None:
        loop = self._connection.ioloop
        loop.call_later(CLOSING, loop.stop)
        if (transport := self._connection.services.transport) is not None and not self._connection.is_closed:
            transport.abort()

    def _soon(self, call: Callable[[], None]) -> None:
        try:
            self._connection.ioloop.add_callback_threadsafe(partial(self._connection.together, call))
        except Exception as error:  # the loop has ended
            self.lost = self.lost or error

    def check(self) -> None:
        """Raises what the loss of this link means to a caller; nothing while it works."""
        error = self.lost
        if error is None:
            return
        code = getattr(error, "reply_code", 0)
        refusals = (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError)
        if isinstance(error, refusals) or code in (403, 530):
            raise BrokerMisconfigured(
                f"{self.where}: the server refused the user, password or virtual host: {error}"
            ) from None
        if code in REFUSED:
            raise BrokerError(f"{self.where}: {getattr(error, 'reply_text', error)}") from None
        raise BrokerUnavailable(f"{self.where}: {reason(error)}") from None

    def do(self, call: Callable[[Any, Callable[[Any], None]], object]) -> Any:
        """The server's answer to one method: `call(channel, answer)` runs in the link's thread."""
        answers: list[Any] = []
        done = _Done()

        def answered(frame: Any) -> None:
            answers.append(frame)
            done.set()

        def run() -> None:
            try:
                call(self.channel, answered)
            except Exception as error:
                self._fail(error)

        self._wait(lambda: self._soon(run), done)
        return answers[0]

    def post(self, call: Callable[[Any], None]) -> None:
        """Run `call(channel)` in the link's thread, without waiting."""

        def run() -> None:
            if self.channel.is_open:  # also of a link that is being closed: what was settled before is acknowledged
                try:
                    call(self.channel)
                except Exception as error:
                    self._fail(error)

        self._soon(run)

    def ack(self, tag: int) -> None:
        self.post(lambda channel: channel.basic_ack(tag))

    def _wait(self, start: Callable[[], None], done: _Done) -> None:
        self.check()
        self._waiting.add(done)
        started = False
        try:
            if self.lost is None:
                started = True
                start()
                if not done.wait(self.timeout):
                    blocked = " (the server blocks publishers: its memory or disk alarm)" if self.blocked else ""
                    self._fail(TimeoutError(f"no answer in {self.timeout:g} s{blocked}"))
        finally:
            self._waiting.discard(done)
        try:
            self.check()
        except BrokerUnavailable as error:
            error.unknown = started
            raise

    def publish(self, messages: Sequence[Publish]) -> None:
        """All confirmed on return. Raises BrokerFull, Unroutable or BrokerUnavailable: some may be stored then."""
        if self.blocked:
            raise BrokerUnavailable(f"{self.where}: the server blocks publishers: its memory or disk alarm")
        batch = _PublishBatch(messages)

        def send() -> None:
            frames = [each for message in messages for each in self._frames(message)]
            with self._publishing:
                for _ in messages:
                    self._published += 1
                    self._batches[self._published] = batch
                self._connection.send(frames)

        self._wait(send, batch.done)
        if batch.returned:
            raise Unroutable(f"{self.where}: a queue was deleted", batch.returned)
        if batch.refused:
            raise BrokerFull(f"{self.where}: the server refused a message: a queue is over its limit")

    def tell(self, exchange: str, key: str, body: bytes) -> None:
        """Publish to whoever listens just now, without waiting; lost where nobody does, or the server blocks publishers."""

        if self.lost is None and not self.blocked:
            frames = list(self._frames(Publish(exchange, key, body, {}, mandatory=False), lasting=False))
            with self._publishing:
                self._published += 1
                self._connection.send(frames)

    def _frames(self, message: Publish, *, lasting: bool = True) -> Iterator[bytes]:
        properties = pika.BasicProperties(
            delivery_mode=2 if lasting else 1,
            message_id=cut(message.id),
            headers=message.headers or None,
            reply_to=message.reply or None,
        )
        to, most = (message.exchange, message.key, message.mandatory), self._connection.params.frame_max
        return message_frames(self.channel.channel_number, most, to, properties, message.body)

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = range(self._oldest, method.delivery_tag + 1) if method.multiple else (method.delivery_tag,)
        for tag in tags:
            batch = self._batches.pop(tag, None)
            if batch is not None:
                batch.left -= 1
                batch.refused |= isinstance(method, Basic.Nack)
                if batch.left == 0:
                    batch.done.set()
        if method.multiple:
            self._oldest = max(self._oldest, method.delivery_tag + 1)

    def _returned(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        """Told before the message is confirmed."""
        wanted = (method.exchange, method.routing_key, properties.message_id)
        with self._publishing:
            batches = set(self._batches.values())
        for batch in batches:
            batch.returned += [each for each in batch.messages if (each.exchange, each.key, cut(each.id)) == wanted]

    def every(self, pause: float, call: Callable[[], None]) -> None:
        """Call it in the link's thread each `pause` seconds until the link is lost or closed."""

        def tick() -> None:
            if self.lost is None:
                try:
                    call()
                except Exception as error:
                    self._fail(error)
                self._connection.ioloop.call_later(pause, tick)

        self._soon(tick)

    def close(self) -> None:
        """Let go of the connection and the thread. Idempotent."""
        alive = self.lost is None
        if alive:
            self.lost = ConnectionError("closed")
        for event in list(self._waiting):
            event.set()
        self._stop()
        if alive and threading.current_thread() is not self._thread:  # a lost one ends by itself
            self._thread.join(self.timeout)
