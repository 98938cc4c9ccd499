"""Server: publishes a broker over TCP with `multiprocessing.managers`, one thread a connection."""

from __future__ import annotations

import contextlib
import logging
import threading
from multiprocessing import AuthenticationError, managers
from typing import TYPE_CHECKING, Any, Self, cast

from longboat.brokers.manager.dispatcher import Dispatcher
from longboat.brokers.manager.door import SERIALIZER, Address, Door
from longboat.brokers.manager.frames import Connection
from longboat.contract.broker import Broker
from longboat.errors import LongboatError

if TYPE_CHECKING:
    from multiprocessing.managers import Server as StandardServer
else:
    StandardServer = managers.Server

DESK = "desk"
"""The name that the broker is published under."""
_ENDING = 3.0
"""Seconds that the end waits for calls under way."""

log = logging.getLogger("longboat.serve")


class PlainServer(StandardServer):
    """The standard library's server behind our door: it ends when it is told to, and says whom it refuses."""

    def __init__(self, registry: Any, address: Address, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)
        self.door: Door = cast(Any, self).listener
        self.door.key = bytes(authkey)
        self.stop_event = threading.Event()
        self._connections: dict[Connection, threading.Thread] = {}
        self._guard = threading.Lock()

    def accepter(self) -> None:
        """Until the door is closed."""
        while not self.stop_event.is_set():
            try:
                connection = self.door.accept()
            except OSError as error:
                if not self.stop_event.wait(0.05):  # too many open files, say: others may end meanwhile
                    log.warning("a connection could not be accepted: %s", error)
                continue
            thread = threading.Thread(target=self.handle_request, args=(connection,), daemon=True)
            with self._guard:
                self._connections[connection] = thread
            thread.start()

    def handle_request(self, conn: Any) -> None:
        """One connection, from its handshake to its end."""
        try:
            where = conn.peer()
            try:
                conn.greet()
            except AuthenticationError as error:
                log.warning("refused %s: %s", where, error)
            except (OSError, EOFError) as error:
                log.info("%s left during the handshake: %s", where, str(error) or "timed out")
            else:
                super().handle_request(conn)
        finally:
            conn.close()
            with self._guard:
                self._connections.pop(conn, None)

    def end(self) -> None:
        """Accept no more, close every connection, and wait for the calls under way."""
        self.stop_event.set()
        self.door.close()
        with self._guard:
            connections = dict(self._connections)
        for connection in connections:
            connection.shut()
        for thread in connections.values():
            if thread is not threading.current_thread():
                thread.join(_ENDING)


class DispatcherServer(PlainServer):
    """Serves one object, that is there from the beginning; clients can neither make others nor end the server."""

    public = ["accept_connection", "dummy"]  # noqa: RUF012  # as the standard library has it

    def publish(self, dispatcher: Dispatcher) -> None:
        self.id_to_obj[DESK] = (dispatcher, {"call"}, {})


class PlainManager(managers.BaseManager):
    """A manager of the standard library on Longboat's door: plain data, each message authenticated, no pickle.

    For those who want to share a queue by `register`, and nothing else.
    """

    def __init__(self, address: Address, authkey: bytes) -> None:
        super().__init__(address, authkey, serializer=SERIALIZER)

    def get_server(self) -> PlainServer:
        """A server of what was registered; its `serve_forever` runs until the process ends."""
        key: Any = self._authkey  # type: ignore[attr-defined]
        address: Any = self._address  # type: ignore[attr-defined]
        return PlainServer(self._registry, address, key, SERIALIZER)  # type: ignore[attr-defined]


class Server:
    """A broker published at an address (port 0: a free one), from `start` to `close`. Closes the broker as well.

    Raises OSError when the address cannot be had. The broker's own clock decides.
    """

    def __init__(self, broker: Broker, address: Address, authkey: bytes) -> None:
        self._broker = broker
        self._dispatcher = Dispatcher(broker)
        self._server = DispatcherServer({}, address, authkey, SERIALIZER)
        self._server.publish(self._dispatcher)
        self.address: Address = self._server.door.address
        self._thread = threading.Thread(target=self._server.accepter, name="longboat-door", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What clients hold comes back, uncharged; they are told at their next call."""
        self._dispatcher.close()
        self._server.end()
        if self._thread.ident is not None:
            self._thread.join(_ENDING)
        with contextlib.suppress(LongboatError):
            self._broker.close()
