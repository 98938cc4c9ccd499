"""Health: a small page about one worker process, for probes and for Prometheus."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from longboat.contract.broker import Broker
from longboat.core.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.observe import metrics
from longboat.observe.metrics import Page

log = logging.getLogger("longboat.worker")

FRESH = 5.0
"""Seconds that what the broker was asked is shown again: scrapes cost it little, however many there are."""
AGAIN = 1.0
"""Seconds after which a port that is taken is tried anew."""
PATIENCE = 10.0
"""Seconds that a part of a request may take to arrive."""
AT_ONCE = 32
"""Connections at a time, at most."""


class Health:
    """Answers GET /livez, /readyz and /metrics from threads of its own; whatever happens there harms no job.

    `port`: 0 takes a free one. Where it is taken, the following `more` ports are tried (several worker processes share one
    option), then all of them again each second. `alive` and `ready` give None, or what is wrong.
    """

    def __init__(
        self,
        host: str,
        port: int,
        broker: Broker,
        page: Callable[[], Page],
        *,
        alive: Callable[[], str | None],
        ready: Callable[[], str | None],
        more: int = 0,
    ) -> None:
        self.url = ""
        """Once it answers."""
        self.up = threading.Event()
        self._host = host
        self._ports = range(port, min(65535, port + more) + 1) if port else range(1)
        self._page = page
        self._queues = _Queues(broker)
        self._probes = {"/livez": alive, "/readyz": ready}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longboat-health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and text for a path."""
        if path == "/metrics":
            return 200, metrics.CONTENT_TYPE, self._metrics()
        probe = self._probes.get(path)
        if probe is None:
            return 404, "text/plain", "there are /livez, /readyz and /metrics\n"
        wrong = probe()
        return (200, "text/plain", "ok\n") if wrong is None else (503, "text/plain", f"{wrong}\n")

    def _metrics(self) -> str:
        page = self._page()
        self._queues.add(page)
        return page.text()

    def _run(self) -> None:
        told = False
        while (server := self._bound()) is None:
            if not told:
                ports = f"{self._ports[0]}" + (f" to {self._ports[-1]}" if len(self._ports) > 1 else "")
                log.error("the health port %s is taken; trying again until it is free", ports)
                told = True
            if self._over.wait(AGAIN):
                return
        with server:
            host, port = server.server_address[:2]
            self.url = f"http://{host!s}:{port}"
            log.info("health and metrics at %s", self.url)
            self.up.set()
            while not self._over.is_set():
                server.handle_request()  # or nothing, for `timeout` seconds

    def _bound(self) -> _Server | None:
        for port in self._ports:
            try:
                return _Server((self._host, port), self.answer)
            except OSError:
                continue
        return None


class _Queues:
    """What all workers would say the same of, asked of the broker now and then."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._known = Page()
        self._at = -FRESH

    def add(self, page: Page) -> None:
        with self._lock:
            if SYSTEM.monotonic() - self._at >= FRESH:
                fresh = Page()
                try:
                    metrics.add_queues(fresh, self._broker, SYSTEM.now())
                except BrokerError:  # down, or it cannot tell: then nothing is said of queues
                    fresh = Page()
                self._known, self._at = fresh, SYSTEM.monotonic()
            page.include(self._known)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0.1

    def __init__(self, address: tuple[str, int], answer: Callable[[str], tuple[int, str, str]]) -> None:
        self.answer = answer
        self._open: dict[socket.socket, None] = {}
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        for longest in list(self._open)[: max(0, len(self._open) - AT_ONCE + 1)]:
            self._open.pop(longest, None)  # it gives way: no probe is ever kept out
            with contextlib.suppress(OSError):
                longest.shutdown(socket.SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("a health request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # the only one that makes these
    timeout = PATIENCE
    server_version = "longboat"
    sys_version = ""

    def do_GET(self) -> None:
        if _loopback(str(self.server.server_address[0])) and not _loopback(self.headers.get("Host", "localhost")):
            # a site's page could read it by a name of its own that points here
            status, kind, text = 403, "text/plain", "this is for its own machine; ask for it by a loopback name\n"
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
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
