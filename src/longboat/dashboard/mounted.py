"""Dashboard: the ASGI application, and what it opens at its first request."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from longboat.app import Longboat
from longboat.dashboard.ask import Role
from longboat.dashboard.guard import Guard
from longboat.dashboard.sampler import Sampler
from longboat.dashboard.screens import SCREENS
from longboat.dashboard.site import Site
from longboat.dashboard.web import Web
from longboat.dashboard.wsgi import answered
from longboat.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

TOKEN_MADE = (
    "nothing says who may open the dashboard (tokens=, authorize=, local_role=): sign in once with ?token=%s, which is good "
    "until this process ends"
)


class Dashboard:
    """Serves any number of requests at a time, each in a thread."""

    def __init__(self, app: Longboat, guard: Guard, site: Site, *, closes: bool) -> None:
        self._app = app
        self._closes = closes
        self.token = guard.made
        """The token that was made because nothing says who is let in; empty if something does."""
        self._site = site
        self._asgi = Web(site, guard).asgi(SCREENS)
        self._sampler: Sampler | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._sampler is None:
            self.open()
        await self._asgi(scope, receive, send)

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The same as a WSGI application, for Flask, Django and others, on either side of a fork.

        The hook `authorize` sees the context variables of the calling thread, such as Flask's `request`, and the environment
        in `request.scope["wsgi_environ"]`.
        """
        return answered(self, environ, start_response)

    def open(self) -> None:
        """Start sampling the queues' depth, as the first request does."""
        with self._lock:
            if self._sampler is None:
                if self.token:
                    logging.getLogger("longboat.dashboard").warning(TOKEN_MADE, self.token)
                self._sampler = Sampler(self._site)
                self._sampler.start()
                self._site.overheard.start()

    def close(self) -> None:
        """Stop sampling, and close the connection if it was opened for this dashboard. Idempotent."""
        with self._lock:
            sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()
            self._site.overheard.close()
        if self._closes:
            self._app.close()


def role(name: str) -> Role:
    """The role of this name. Raises ConfigError."""
    try:
        return Role[name.upper()]
    except KeyError:
        raise ConfigError(f"{name!r} is not a role; the roles are {', '.join(each.name.lower() for each in Role)}") from None
