"""Serving: the web server of `longboat dashboard`, with bounds that hold off those who never finish a request."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
from typing import ClassVar

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from longboat.dashboard.stream import ENDED_BY_SERVER

PATIENCE = 10.0
"""Seconds within which a request has to be complete."""
MOST_CONNECTIONS = 256
"""When there are more, the oldest one without a complete request is closed."""


class BoundedHttp(H11Protocol):
    """Closes a connection whose request is not complete within PATIENCE."""

    _unfinished: ClassVar[dict[BoundedHttp, asyncio.TimerHandle]] = {}
    """Connections without a complete request, the oldest first. One server runs in a process."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > MOST_CONNECTIONS:
            next(iter(self._unfinished))._give_up()

    def data_received(self, data: bytes) -> None:
        if self not in self._unfinished:  # the first bytes of a further request
            self._await_request()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            self._finish()

    def on_response_complete(self) -> None:
        self._finish()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The server stops: it would wait for streams, which have no end."""
        super().shutdown()
        if self.cycle is not None and (b"accept", b"text/event-stream") in self.headers:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._finish()
        self._unfinished[self] = self.loop.call_later(PATIENCE, self._give_up)

    def _finish(self) -> None:
        if (timer := self._unfinished.pop(self, None)) is not None:
            timer.cancel()

    def _give_up(self) -> None:
        self._finish()
        self.transport.abort()


class Rooted:
    """The dashboard below a prefix, whether the proxy in front removes the prefix from the path or keeps it.

    The prefix is `root`, or what a proxy that removed one says in X-Forwarded-Prefix.
    """

    def __init__(self, dashboard: ASGIApp, root: str) -> None:
        self._dashboard = dashboard
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            said = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            root = said if _PREFIX.fullmatch(said) and said.isprintable() else self._root
            path: str = scope["path"]
            if not said and root and (path == root or path.startswith(f"{root}/")):
                path = path.removeprefix(root) or "/"
            scope = {**scope, "root_path": root, "path": f"{root}{path}", ENDED_BY_SERVER: True}
        await self._dashboard(scope, receive, send)


_PREFIX = re.compile(r"(/[^/\\]+)+")


def serve(dashboard: ASGIApp, listening: socket.socket, root: str) -> None:
    """Answer until SIGTERM or SIGINT. `root`: the prefix under which people see it, such as "/longboat"."""
    config = uvicorn.Config(
        Rooted(dashboard, root),
        http=BoundedHttp,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: "Invalid HTTP request" not in record.getMessage())
    server = uvicorn.Server(config)

    def leave(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):  # until it handles them itself; it raises them again when it has ended
        signal.signal(number, leave)
    server.run(sockets=[listening])
