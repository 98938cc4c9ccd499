"""Packed: responses compressed with gzip, where the browser takes it and nobody else can choose what is in them."""

from __future__ import annotations

import re
import zlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEVEL = 6
SMALL = 500
"""Bytes below which a response is sent as it is."""

_ACCEPTED = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


class Packed:
    """Compresses what the application answers, each part of a stream at once.

    Whoever sees the length of encrypted answers and chooses a part of their text learns what else they hold (BREACH). Pages
    hold no tokens, but they hold arguments of jobs. To choose the text, such as a search, another site has to make the
    browser ask: browsers say so (Sec-Fetch-Site), and these answers are not compressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _may(Headers(scope=scope)):
            send = _Packer(send).send
        await self._app(scope, receive, send)


def _may(headers: Headers) -> bool:
    ours = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return ours and _ACCEPTED.search(headers.get("accept-encoding", "")) is not None


class _Packer:
    """One response on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._packing: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Accept-Encoding")
            if message["status"] == 200 and int(headers.get("content-length", SMALL)) >= SMALL:
                headers["content-encoding"] = "gzip"
                del headers["content-length"]
                self._packing = zlib.compressobj(LEVEL, wbits=31)
        elif (packing := self._packing) is not None:
            packed = packing.compress(message.get("body", b""))
            packed += packing.flush(zlib.Z_SYNC_FLUSH if message.get("more_body") else zlib.Z_FINISH)
            message = {**message, "body": packed}
        await self._send(message)
