"""A small reverse proxy, to stand in front of a dashboard as nginx, Traefik, Caddy or an Ingress does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def proxied(behind: str, *, strip: str = "", headers: Mapping[str, str] | None = None, host: str = "") -> Iterator[str]:
    """A proxy for the server at `behind`; gives its own address.

    It removes `strip` from paths, adds `headers`, and passes on the browser's Host, or `host` instead.
    """
    there = urlsplit(behind).netloc

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            sent = {**sent, "X-Forwarded-For": self.client_address[0], **(headers or {})}
            if host:
                sent["Host"] = host
            connection = http.client.HTTPConnection(there, timeout=10)
            connection.request(self.command, self.path.removeprefix(strip) or "/", body, sent)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_POST = do_HEAD = forward  # noqa: N815  # http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
