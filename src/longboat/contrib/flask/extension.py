"""The extension: Longboat for a Flask app."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from flask import Blueprint, Flask

import longboat
from longboat.client.outbox_table import Connect
from longboat.client.spool import spool_url
from longboat.contrib.flask.page import Authorize, blueprint
from longboat.errors import AppNotFound, ConfigError
from longboat.tasks.current import Running
from longboat.tasks.middleware import Middleware

NO_APP = (
    "this Longboat serves no Flask app yet: nothing has called its init_app\n"
    "Start it by `flask --app MODULE longboat worker`, or name a module that makes the Flask app and holds the Longboat."
)


class Longboat(longboat.Longboat):
    """A Longboat whose jobs run in the application context of a Flask app.

    `Longboat(app)`, or `Longboat()` and later `init_app(app)`: tasks may be defined before there is an app. The config value
    LONGBOAT_URL names the broker; the variable LONGBOAT_URL beats it, and `url` is taken where neither is set.
    LONGBOAT_SPOOL names the spool, else `spool` does. A Longboat serves one Flask app, the last that it was given;
    several apps in one process have one each.

    `include`, `spool` and `outbox`: as longboat.Longboat has them. `outbox` is called in the application context.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        url: str | None = None,
        include: Sequence[str] = (),
        spool: str | None = None,
        outbox: Connect | None = None,
    ) -> None:
        super().__init__(url, include=include, spool=spool, outbox=outbox)
        self._default_url, self._default_spool = self.url, self.spool
        self._flask_app: Flask | None = None
        self.add_middleware(InAppContext(self))
        if isinstance(app, str):  # as longboat.Longboat has it
            raise ConfigError("the first argument is the Flask app: name the broker by Longboat(url=…) or LONGBOAT_URL")
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve this Flask app, and no other one any more. `app.extensions["longboat"]` is this Longboat then."""
        self.close()
        self.url = os.environ.get("LONGBOAT_URL") or app.config.get("LONGBOAT_URL") or self._default_url
        self._spool = spool_url(app.config.get("LONGBOAT_SPOOL") or self._default_spool)
        self._flask_app = app
        app.extensions["longboat"] = self

    @property
    def outbox(self) -> Connect | None:
        """Opens a connection to the database of the outbox within the application's context, if there is one."""
        return None if self._outbox is None else self._in_context

    def _in_context(self) -> Any:
        assert self._outbox is not None
        with self.flask_app.app_context():  # Flask-SQLAlchemy knows its engines only there
            return self._outbox()

    @property
    def flask_app(self) -> Flask:
        """The Flask app that is served. Raises AppNotFound if there is none yet."""
        if self._flask_app is None:
            raise AppNotFound(NO_APP)
        return self._flask_app

    def load(self) -> None:
        """As longboat.Longboat has it; what is imported must make a Flask app, or the jobs could not run."""
        super().load()
        _ = self.flask_app

    def dashboard(self, authorize: Authorize, title: str = "") -> Blueprint:
        """The dashboard: `app.register_blueprint(longboat.dashboard(authorize), url_prefix="/longboat")`.

        `authorize` is called with each request, in its context: it returns "viewer", "operator" or "admin", or such a role
        and the person's name, or None for no access; or a response, such as a redirect to a page to log in. It may abort().
        """
        return blueprint(self, authorize, title)


class InAppContext(Middleware):
    """Runs each attempt in an application context of its own, which is popped when it ends, however it ends."""

    def __init__(self, owner: Longboat) -> None:
        self._owner = owner

    def around(self, call: Running) -> AbstractContextManager[Any]:  # noqa: ARG002  # as its base has it
        return self._owner.flask_app.app_context()
