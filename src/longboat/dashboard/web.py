"""The HTTP side: routes to screens, answers to responses, and the headers of every response."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longboat.dashboard import stream
from longboat.dashboard.ask import Answer, Ask, Data, Goto, Page, Refused, Screen, Stream, local
from longboat.dashboard.guard import Guard, check_origin, cookie
from longboat.dashboard.packed import Packed
from longboat.dashboard.sessions import LIFETIME
from longboat.dashboard.site import Site
from longboat.dashboard.words import FILTERS
from longboat.errors import BrokerError, LongboatError, ResultError, Unsupported

HERE = Path(__file__).parent
LONGEST_BODY = 2_000_000
SLOWEST_BODY = 30.0
"""Seconds within which a form has to arrive."""
MOST_FIELDS = 20_000
MESSAGE = "message"
"""The name of the cookie that carries a message to the next page."""
SEEN = "longboat-seen"
"""The part of a query by which a page that asks for its stream says what it already shows."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

Endpoint = Callable[[Request], Awaitable[Response]]

_PAGE = f"@@{secrets.token_hex(16)}@@"
"""A placeholder in a page for the mark of what it shows; no text can contain it."""


class Web:
    """Turns requests into asks, and answers into responses, for one site."""

    def __init__(self, site: Site, guard: Guard) -> None:
        self._site = site
        self._guard = guard
        self._pages = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters.update(FILTERS)
        self._files = _files_version()

    def asgi(self, screens: list[tuple[str, str, Screen]]) -> ASGIApp:
        """The application; each screen is (method, path, function)."""
        routes: list[Any] = [
            Mount("/static", _Files(directory=HERE / "static"), name="static"),
            Route("/livez", self._alive, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
            Route("/sign-in", self._endpoint(self._sign_in), methods=["POST"]),
            Route("/sign-out", self._endpoint(self._sign_out), methods=["POST"]),
            *(Route(path, self._endpoint(self._shown(screen)), methods=[method]) for method, path, screen in screens),
        ]
        for route in routes[1:]:
            route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)  # a name may contain line breaks
        made = Starlette(routes=routes, exception_handlers={HTTPException: self._nowhere})
        made.router.redirect_slashes = False  # it would redirect to whatever host the request names
        return _Headers(Packed(made))

    def _endpoint(self, answer: Endpoint) -> Endpoint:
        """Whatever happens, the answer is one of ours, without a traceback."""

        async def endpoint(request: Request) -> Response:
            try:
                check_origin(request)
                return await answer(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                return await self._refusal(request, _refused(request, error))

        return endpoint

    def _shown(self, screen: Screen) -> Endpoint:
        async def answer(request: Request) -> Response:
            if self._guard.has_tokens and (given := request.query_params.get("token")):
                rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
                return await self._signed_in(request, given, _address(request, rest))
            if request.method == "GET" and "text/event-stream" in request.headers.get("accept", ""):
                return await self._stream(request, screen)
            ask = await self._ask(request)
            if request.method == "POST":
                ask.form = await _form(request)
            return await run_in_threadpool(lambda: self._respond(request, ask, screen(self._site, ask)))

        return answer

    async def _ask(self, request: Request) -> Ask:
        person = await run_in_threadpool(self._guard.admit, request)  # a program's hook may query its database
        pairs = [(name, value) for name, value in request.query_params.multi_items() if name != SEEN]
        place = {name: str(value) for name, value in request.path_params.items()}
        ask = Ask(_within(request), request.scope.get("root_path", ""), person, dict(pairs), pairs, place=place)
        ask.whole = "wsgi_environ" in request.scope
        return ask

    async def _stream(self, request: Request, screen: Screen) -> Response:
        """What changes on this page; whoever looks is let in again each time."""

        async def look() -> stream.Shown:
            try:
                ask = await self._ask(request)
                return await run_in_threadpool(lambda: self._now(ask, screen(self._site, ask)))
            except Exception as error:
                raise _refused(request, error) from None

        first, seen = await look(), request.query_params.get(SEEN, "")
        events = stream.events(first, look, seen, stream.lifetime(request.scope), request.is_disconnected)
        return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    def _now(self, ask: Ask, answer: Answer) -> stream.Shown:
        if not isinstance(answer, Page):
            raise Refused(406, "Nothing here changes by itself.")
        return stream.shown(self._render(ask, answer), live=answer.live)

    async def _sign_in(self, request: Request) -> Response:
        form = await _form(request)
        return await self._signed_in(request, form.get("token", [""])[-1], local(form.get("next", ["/"])[-1]))

    async def _signed_in(self, request: Request, given: str, path: str) -> Response:
        secret = await run_in_threadpool(self._guard.sign_in, request, given)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}{path}", 303)
        _set_cookie(request, response, "session", secret, int(LIFETIME))
        return response

    async def _sign_out(self, request: Request) -> Response:
        await run_in_threadpool(self._guard.sign_out, request)
        root = request.scope.get("root_path", "")
        response = RedirectResponse(f"{root}/", 303)
        response.delete_cookie(cookie(request), path=root or "/")
        return response

    # --- probes, which tell nothing that needs a role

    async def _alive(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, _: Request) -> Response:
        try:
            await run_in_threadpool(self._site.shown_counts)
        except LongboatError:
            return PlainTextResponse("the broker cannot be reached\n", 503)
        return PlainTextResponse("ok\n")

    # --- responses

    def _respond(self, request: Request, ask: Ask, answer: Answer) -> Response:
        if isinstance(answer, Goto):
            response: Response = RedirectResponse(f"{ask.root}{answer.path}", 303)
            if answer.message:
                _set_cookie(request, response, MESSAGE, answer.message.encode()[:1000].hex(), 30)
            return response
        if isinstance(answer, Data):
            response = Response(answer.body, answer.status, media_type=answer.kind)
            if answer.file:
                response.headers["content-disposition"] = f'attachment; filename="{answer.file}"'
            return response
        if isinstance(answer, Stream):
            named = {"content-disposition": f'attachment; filename="{answer.file}"'}
            return StreamingResponse(answer.parts, media_type=answer.kind, headers=named)
        message = _message(request)
        text = self._render(ask, answer, message)
        response = Response(text.replace(_PAGE, stream.shown(text).mark), answer.status, media_type="text/html")
        if message:
            response.delete_cookie(cookie(request, MESSAGE), path=ask.root or "/")
        return response

    def _render(self, ask: Ask, page: Page, message: str = "") -> str:
        site = self._site
        return self._pages.get_template(page.template).render(
            {
                "ask": ask,
                "url": ask.url,
                "site": site,
                "notice": message,
                "live": page.live,
                "shown": _PAGE,
                "files": self._files,
                **page.context,
            }
        )

    async def _refusal(self, request: Request, refused: Refused) -> Response:
        if _within(request).startswith("/api/v1/"):
            body = msgspec.json.encode({"error": refused.what, "advice": refused.advice})
            response = Response(body, refused.status, media_type="application/json")
        else:
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
            context = {
                "refused": refused,
                "root": request.scope.get("root_path", ""),
                "files": self._files,
                "sign_in": refused.status in (401, 429),
                "next": _address(request, rest) if request.method == "GET" else "/",
            }
            text = await run_in_threadpool(self._pages.get_template("refused.html").render, context)
            response = Response(text, refused.status, media_type="text/html")
        if refused.status == 429:
            response.headers["retry-after"] = "".join(filter(str.isdigit, refused.advice))
        if refused.status == 401:
            response.headers["www-authenticate"] = 'Basic realm="Longboat", charset="UTF-8"'
        return response

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException) or error.status_code == 404:
            return await self._refusal(request, Refused(404, "There is no such page.", "Use the menu to find another."))
        refused = Refused(error.status_code, f"This address does not support {request.method}.")
        response = await self._refusal(request, refused)
        response.headers.update(error.headers or {})
        return response


class _Files(StaticFiles):
    """Our scripts and styles: their addresses contain their version, so that browsers may cache them."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


class _Headers:
    """Adds HEADERS to every response, including errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


async def _form(request: Request) -> dict[str, list[str]]:
    body = bytearray()
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                body += part
                if len(body) > LONGEST_BODY:
                    raise Refused(413, f"The request has more than {LONGEST_BODY:,} bytes.")
    except TimeoutError:
        raise Refused(408, f"The request did not arrive within {SLOWEST_BODY:g} seconds.") from None
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            found = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refused(400, f"The request is not a JSON object: {error}") from None
        return {name: _texts(value) for name, value in found.items()}
    try:
        return parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Refused(413, f"The request has more than {MOST_FIELDS:,} fields.") from None


def _texts(value: Any) -> list[str]:
    many = value if isinstance(value, list) else [value]
    return [each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in many]


def _refused(request: Request, error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, Unsupported):
        return Refused(501, str(error), "`longboat doctor --verbose` lists what this broker does not support.")
    if isinstance(error, BrokerError):
        return Refused(503, str(error), "Try again in a moment.")
    if isinstance(error, LongboatError):
        return Refused(404 if isinstance(error, ResultError) else 400, str(error))
    logging.getLogger("longboat.dashboard").error(
        "%s %r failed", request.method, request.scope["path"], exc_info=(type(error), error, error.__traceback__)
    )
    return Refused(500, "This page could not be rendered.", "The log says why.")


def _within(request: Request) -> str:
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "")
    return path.removeprefix(root) or "/"


def _address(request: Request, query: list[tuple[str, str]]) -> str:
    """The requested page with this query, as a link within the dashboard."""
    return local(f"{quote(_within(request))}{'?' if query else ''}{urlencode(query)}")


def _set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """SameSite=Lax, not Strict: a link in a mail or a chat opens the page it names, and links change nothing."""
    path, secure = request.scope.get("root_path", "") or "/", request.url.scheme == "https"
    response.set_cookie(
        cookie(request, name), value, path=path, httponly=True, samesite="lax", secure=secure, max_age=seconds
    )


def _message(request: Request) -> str:
    try:
        return bytes.fromhex(request.cookies.get(cookie(request, MESSAGE), "")).decode(errors="ignore")
    except ValueError:
        return ""


def _files_version() -> str:
    """Part of the address of our scripts and styles, so that browsers may cache them."""
    found = hashlib.sha256()
    for path in sorted((HERE / "static").rglob("*")):
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()[:10]
