"""Server: publishes a broker over TCP with `multiprocessing.managers`, one thread a connection."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from multiprocessing import AuthenticationError, managers
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Self, cast

from longboat.brokers.manager.dispatcher import TIDY_AGAIN, Dispatcher
from longboat.brokers.manager.frames import Connection
from longboat.brokers.manager.tcp import PUBLISHED, SERIALIZER, Address, TcpListener
from longboat.contract.broker import Broker
from longboat.core.seldom import Seldom
from longboat.errors import LongboatError

if TYPE_CHECKING:
    from multiprocessing.managers import Server as StandardServer
else:
    StandardServer = managers.Server

TOLD_EVERY = 10.0
"""Seconds between two lines in the log about the handshakes of one address."""
_LEAVING = 0.1
"""Seconds in which answers on their way leave a server that has stopped."""
_ENDING = 3.0
"""Seconds that the end waits for calls under way."""
_TIDY_BUDGET = 0.1
"""Seconds for one round of housekeeping."""

log = logging.getLogger("longboat.serve")


class PlainServer(StandardServer):
    """The standard library's server over our frames: it ends when its own program says so, and logs whom it refuses."""

    public: list[str] = [name for name in cast(Any, managers).Server.public if name != "shutdown"]  # noqa: RUF012  # as the standard library has it
    """What a client may ask the server itself. It may not end it."""

    def __init__(self, registry: Any, address: Address, authkey: bytes, serializer: str) -> None:
        super().__init__(registry, address, authkey, serializer)
        self.listening: TcpListener = cast(Any, self).listener
        self.listening.key = bytes(authkey)
        self.stop_event = threading.Event()
        self._connections: dict[Connection, threading.Thread] = {}
        self._guard = threading.Lock()
        self._told = Seldom(TOLD_EVERY)

    def accepter(self) -> None:
        """Until it no longer listens."""
        while not self.stop_event.is_set():
            try:
                connection = self.listening.accept()
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
                self._tell(logging.WARNING, "refused", where, str(error))
            except (OSError, EOFError) as error:
                self._tell(logging.INFO, "gave up the handshake of", where, str(error) or "timed out")
            else:
                super().handle_request(conn)
        finally:
            conn.close()
            with self._guard:
                self._connections.pop(conn, None)

    def serve_forever(self) -> None:
        """Until its program ends it: by SIGTERM, if nothing else handles that."""
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: self.stop_event.set())
        try:
            super().serve_forever()
        finally:
            time.sleep(_LEAVING)

    def _tell(self, level: int, what: str, where: str, why: str) -> None:
        """Once in a while for each address: whoever has no key must not fill the log."""
        if count := self._told.count(f"{what} {where.rpartition(':')[0]}"):
            log.log(level, "%s %s%s: %s", what, where, f" and {count - 1:,} more from there" if count > 1 else "", why)

    def end(self) -> None:
        """Accept no more, close every connection, and wait for the calls under way."""
        self.stop_event.set()
        self.listening.close()
        with self._guard:
            connections = dict(self._connections)
        for connection in connections:
            connection.shut()
        for thread in connections.values():
            if thread is not threading.current_thread():
                thread.join(_ENDING)


class DispatcherServer(PlainServer):
    """Serves one object, which exists from the start. Clients can neither make others nor end the server."""

    public = ["accept_connection", "dummy"]  # noqa: RUF012  # as the standard library has it


class PlainManager(managers.BaseManager):
    """A manager of the standard library over our frames: plain data, each message authenticated, no pickle.

    For programs that share a queue by `register`, `start` or `get_server`, and `connect`, and nothing else. It takes what
    BaseManager takes, except for a serializer. Without an address it listens at a free port of this machine's loopback.
    """

    _Server = PlainServer

    @staticmethod
    def _finalize_manager(process: BaseProcess, *others: Any) -> None:
        """What `shutdown` does. No client may end the server, so its process is told by a signal, not by a message."""
        process.terminate()
        process.join(_ENDING)
        managers.BaseManager._finalize_manager(process, *others)  # type: ignore[attr-defined]  # typeshed leaves it out

    def __init__(self, address: Address | None = None, authkey: bytes | None = None, **others: Any) -> None:
        super().__init__(address or ("127.0.0.1", 0), authkey, serializer=SERIALIZER, **others)

    def get_server(self) -> PlainServer:
        """A server of what was registered; its `serve_forever` runs until the process ends."""
        key: Any = self._authkey  # type: ignore[attr-defined]  # typeshed leaves it out
        address: Any = self._address  # type: ignore[attr-defined]  # typeshed leaves it out
        return PlainServer(self._registry, address, key, SERIALIZER)  # type: ignore[attr-defined]  # typeshed leaves it out


class Server:
    """A broker published at an address (port 0: a free one), from `start` to `close`. Closes the broker as well.

    Raises OSError when the address cannot be had. The broker's own clock decides.
    """

    def __init__(self, broker: Broker, address: Address, authkey: bytes) -> None:
        self._broker = broker
        self._dispatcher = Dispatcher(broker)
        self._server = DispatcherServer({}, address, authkey, SERIALIZER)
        self._server.id_to_obj[PUBLISHED] = (self._dispatcher, {"call"}, {})
        self.address: Address = self._server.listening.address
        self._threads = [
            threading.Thread(target=run, name=f"longboat-{what}", daemon=True)
            for what, run in (("accept", self._server.accepter), ("tidy", self._tidy))
        ]

    def start(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def _tidy(self) -> None:
        """There may be no worker that does the housekeeping of the store, while clients wait for what it brings."""
        again = 0.0
        while not self._server.stop_event.wait(again):
            try:
                again = max(0.01, self._dispatcher.tidy(_TIDY_BUDGET))
            except Exception:
                log.exception("housekeeping failed and will be tried again")
                again = TIDY_AGAIN

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What clients hold comes back, and no attempt counts. They learn it at their next call."""
        self._dispatcher.close()
        self._server.end()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_ENDING)
        with contextlib.suppress(LongboatError):
            self._broker.close()
