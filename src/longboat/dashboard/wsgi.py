"""Answers a WSGI request by an ASGI application: whole bodies only, which is all that the dashboard has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http.client import responses
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Scope

from longboat.errors import ConfigError
from longboat.worker.real_threads import patched_by

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def answered(app: ASGIApp, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The body of the answer. Each request has an event loop of its own in the calling thread: so nothing is left behind
    that a fork would lose, and the context variables of the thread are seen. Raises ConfigError where threads are not real:
    one of them would find itself in the event loop of another one."""
    if by := patched_by():
        raise ConfigError(
            f"{by} has replaced Python's threads (monkey patching), and the dashboard needs real ones: run it by itself, "
            "with `longboat dashboard`"
        )
    answer = _Answer(environ)
    asyncio.run(_run(app, _scope(environ), answer))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    start_response(f"{answer.status} {responses.get(answer.status, 'Unknown')}", headers)
    return answer.body


async def _run(app: ASGIApp, scope: Scope, answer: _Answer) -> None:
    await app(scope, answer.receive, answer.send)


class _Answer:
    """One request's way in, and what came out."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._input = environ.get("wsgi.input")
        self._left = int(environ.get("CONTENT_LENGTH") or 0)
        self._read = False
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    async def receive(self) -> Message:
        if self._read:
            await asyncio.Event().wait()  # until the answer is complete: WSGI does not tell that somebody has gone
        data: bytes = self._input.read(min(self._left, 65536)) if self._input is not None and self._left > 0 else b""
        self._left -= len(data)
        self._read = not data or self._left <= 0
        return {"type": "http.request", "body": data, "more_body": not self._read}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self.body.append(message.get("body", b""))


def _scope(environ: WSGIEnvironment) -> Scope:
    root, path = (_text(environ.get(name, "")) for name in ("SCRIPT_NAME", "PATH_INFO"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": str(environ.get("SERVER_PROTOCOL", "HTTP/1.0")).partition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": root + path,
        "root_path": root,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": _headers(environ),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
        "client": (environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)),
        "wsgi_environ": environ,
    }


def _headers(environ: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    named = {name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")}
    named.update({name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)})
    return [
        (name.replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in named.items()
    ]


def _text(native: str) -> str:
    """A path of a WSGI environment, whose bytes are given as if they were Latin-1."""
    return native.encode("latin-1").decode("utf-8", "replace")
