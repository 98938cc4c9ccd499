"""The dashboard as a view, behind Django's login and permissions."""

from __future__ import annotations

import functools
import io
import threading
from http.client import responses
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from longboat.contrib.django.app import app
from longboat.contrib.django.permissions import role_of
from longboat.dashboard import longboat_dashboard

if TYPE_CHECKING:
    from starlette.requests import Request

    from longboat.dashboard.mounted import Dashboard

SAID = "longboat.authorized"
"""The key of the WSGI environment under which the dashboard finds role and name."""
_making = threading.Lock()


@csrf_exempt  # type: ignore[untyped-decorator]  # no types. The dashboard itself refuses what another site's page requests
def dashboard(request: Any, path: str) -> HttpResponseBase:
    """A page of the dashboard. Whoever is not logged in is sent to LOGIN_URL; raises PermissionDenied without permission."""
    user = getattr(request, "user", None)
    if user is None:
        raise ImproperlyConfigured("the dashboard asks for permissions: add AuthenticationMiddleware to MIDDLEWARE")
    role = role_of(user)
    if role is None:
        return _refused(request, path)
    environ = {
        **request.META,
        "SCRIPT_NAME": _native(request.path.removesuffix(path).rstrip("/")),
        "PATH_INFO": _native(f"/{path}"),
        "HTTP_HOST": request.get_host(),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        SAID: (role, user.get_username()),
    }
    answer = HttpResponse()

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        answer.status_code = int(status.split()[0])
        answer.reason_phrase = responses.get(answer.status_code, "")
        del answer.headers["Content-Type"]
        for name, value in headers:
            if name.lower() == "set-cookie":
                answer.cookies.load(value)
            else:
                answer.headers[name] = value

    answer.content = b"".join(_made().wsgi(environ, start))
    return answer


def _refused(request: Any, path: str) -> HttpResponseBase:
    if request.user.is_authenticated:
        raise PermissionDenied("This needs the permission longboat.view.")
    if "HX-Request" in request.headers or path.startswith("api/"):  # a redirect would be followed unseen
        return HttpResponse(b"Please log in.\n", status=401, content_type="text/plain")
    here = request.get_full_path() if request.method == "GET" else request.path.removesuffix(path)
    return redirect_to_login(here, settings.LOGIN_URL)


def _said(asked: Request) -> tuple[str, str]:
    found: tuple[str, str] = asked.scope["wsgi_environ"][SAID]
    return found


def _made() -> Dashboard:
    with _making:
        return _make()


@functools.cache
def _make() -> Dashboard:
    app.load()
    return longboat_dashboard(app, authorize=_said)


def _native(path: str) -> str:
    """As PEP 3333 has paths: bytes, as if they were Latin-1."""
    return path.encode().decode("latin-1")
