"""The dashboard as a blueprint, guarded by a function that runs in the request's context."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as BaseResponse

from longboat.app import Longboat
from longboat.dashboard import longboat_dashboard

if TYPE_CHECKING:
    from starlette.requests import Request

Said = str | tuple[str, str] | None
Authorize = Callable[[], Said | BaseResponse]
"""A role, a role and a name, None for no access, or a response to give instead."""

SAID = "longboat.authorized"
"""The key of the WSGI environment under which the dashboard finds what the function said."""


def blueprint(app: Longboat, authorize: Authorize, title: str) -> Blueprint:
    """The dashboard of this app. Nothing is opened before its first request."""

    def said(asked: Request) -> Said:
        found: Said = asked.scope["wsgi_environ"][SAID]
        return found

    dashboard = longboat_dashboard(app, authorize=said, title=title)
    made = Blueprint("longboat", __name__)

    @made.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @made.route("/<path:path>", methods=["GET", "POST"], merge_slashes=False)
    def page(path: str) -> BaseResponse:
        said = authorize()
        if isinstance(said, BaseResponse):
            return said
        inside = "/" + path.encode().decode("latin-1")
        environ = {
            **request.environ,
            "SCRIPT_NAME": request.environ.get("SCRIPT_NAME", "") + request.environ["PATH_INFO"].removesuffix(inside),
            "PATH_INFO": inside,
            SAID: said,
        }
        return Response.from_app(dashboard.wsgi, environ)

    return made
