"""Health: a small page about one worker process, for probes and for Prometheus."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from longboat.core.urls import is_loopback
from longboat.worker.service import Service
from longboat.worker.status import Status

log = logging.getLogger("longboat.worker")

AGAIN = 1.0
"""Seconds after which a port that is taken is tried again."""
PATIENCE = 10.0
"""Seconds that a part of a request may take to arrive."""
AT_ONCE = 32
"""Connections at a time, at most."""

Answer = Callable[[str], tuple[int, str, str]]
"""Path -> status, content type, text."""


class Health(Service):
    """Answers GET requests from threads of its own. An error in one of them harms no job.

    The first of `ports` that is free is taken (0: any free one); several worker processes share one range. While all are
    taken, they are tried again each second.
    """

    def __init__(self, status: Status, host: str, ports: range, answer: Answer) -> None:
        super().__init__("health", status)
        self.url = ""
        """Once it answers."""
        self.up = threading.Event()
        self._host = host
        self._ports = ports
        self._answer = answer

    def loop(self) -> None:
        told = False
        while (server := self._bound()) is None:
            if not told:
                ports = f"{self._ports[0]}" + (f" to {self._ports[-1]}" if len(self._ports) > 1 else "")
                log.error("the health port %s is taken; trying again until it is free", ports)
                told = True
            self.wake.nap(AGAIN)
            if self.stopping:
                return
        with server:
            host, port = server.server_address[:2]
            self.url = f"http://{host!s}:{port}"
            log.info("health and metrics at %s", self.url)
            self.up.set()
            while not self.stopping:
                server.handle_request()  # or nothing, for `timeout` seconds

    def _bound(self) -> _Server | None:
        for port in self._ports:
            try:
                return _Server((self._host, port), self._answer)
            except OSError:
                continue
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0.1
    request_queue_size = 2 * AT_ONCE  # the system keeps a probe waiting for a second where the queue is full

    def __init__(self, address: tuple[str, int], answer: Answer) -> None:
        self.answer = answer
        self._open: dict[socket.socket, None] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        for longest in list(self._open)[: max(0, len(self._open) - AT_ONCE + 1)]:
            self._open.pop(longest, None)  # it gives way, so that no probe is ever refused
            with contextlib.suppress(OSError):
                longest.shutdown(socket.SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # as its protocol has it
        log.debug("a health request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the only one that makes these
    timeout = PATIENCE
    server_version = "longboat"
    sys_version = ""

    def do_GET(self) -> None:
        if _loopback(str(self.server.server_address[0])) and not _loopback(self.headers.get("Host", "localhost")):
            # else a web page could read it by a name of its own that points here
            status, kind, text = 403, "text/plain", "this answers its own machine only; ask by a loopback name\n"
        else:
            status, kind, text = self.server.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # http.server's name

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come each second."""


def _loopback(address: str) -> bool:
    """Whether a host, or "host:port", names this machine, whatever a name server says."""
    try:
        name = urlsplit(f"//[{address}]" if address.count(":") > 1 and "[" not in address else f"//{address}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name)
