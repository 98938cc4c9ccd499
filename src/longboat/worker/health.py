"""Health: a small page about one worker process, for probes and for Prometheus."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from longboat import metrics
from longboat.broker import Broker
from longboat.clock import SYSTEM
from longboat.errors import BrokerError
from longboat.metrics import Page

log = logging.getLogger("longboat.worker")

FRESH = 5.0
"""Seconds that what the broker was asked is shown again: scrapes cost it little, however many there are."""
AGAIN = 1.0
"""Seconds after which a port that is taken is tried anew."""
PATIENCE = 10.0
"""Seconds that one request may take to arrive."""


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
        self._server: _Server | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longboat-health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        server = self._server
        if server is not None:
            server.shutdown()
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
        while not self._over.is_set():
            self._server = self._bound()
            if self._server is not None:
                break
            if not told:
                ports = f"{self._ports[0]}" + (f" to {self._ports[-1]}" if len(self._ports) > 1 else "")
                log.error("the health port %s is taken; trying again until it is free", ports)
                told = True
            self._over.wait(AGAIN)
        if self._server is None:
            return
        host, port = self._server.server_address[:2]
        self.url = f"http://{host!s}:{port}"
        log.info("health and metrics at %s", self.url)
        self.up.set()
        with self._server:
            if not self._over.is_set():
                self._server.serve_forever(poll_interval=0.1)

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

    def __init__(self, address: tuple[str, int], answer: Callable[[str], tuple[int, str, str]]) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        log.debug("a health request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE
    server_version = "longboat"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, text = self.server.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come each second."""
