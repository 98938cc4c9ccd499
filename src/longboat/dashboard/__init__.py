"""The dashboard: pages and a JSON API over a broker, by its URL alone or mounted in another program.

    app.mount("/jobs", longboat_dashboard(app))     # FastAPI, Starlette; any ASGI program

Its process holds no state: whatever has to be kept is kept with the broker.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from longboat.app import Longboat
from longboat.core.urls import shown
from longboat.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from longboat.dashboard.guard import Authorize
    from longboat.dashboard.mounted import Dashboard

__all__ = ["longboat_dashboard"]


def longboat_dashboard(
    app: Longboat | str,
    *,
    tokens: Mapping[str, str] | None = None,
    authorize: Authorize | None = None,
    local_role: str = "admin",
    title: str = "",
    no_code: str = "",
) -> Dashboard:
    """The dashboard of an app, or of the broker at a URL, as an ASGI application.

    Without `tokens` and `authorize`, only browsers on this machine are let in, with `local_role`. `tokens`: secret ->
    "viewer", "operator" or "admin". `authorize`: called with each request; returns one of these, or None. `no_code`: why
    the app's tasks are not known here, which the page of tasks shows. Nothing is opened before the first request; `close()`
    closes it. Raises MissingExtra without the extra "web", ConfigError for tokens that are too short and for unknown roles.
    """
    try:
        from longboat.dashboard.guard import SHORTEST, Guard
        from longboat.dashboard.mounted import Dashboard, role
        from longboat.dashboard.site import Site
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "jinja2", "markupsafe"):
            raise
        raise MissingExtra("the dashboard needs more packages: pip install 'longboat[web]'") from None
    if any(len(token) < SHORTEST for token in tokens or {}):
        example = secrets.token_urlsafe(24)
        raise ConfigError(f"tokens: one has fewer than {SHORTEST} characters; use random ones, such as {example}")
    guard = Guard({token: role(name) for token, name in (tokens or {}).items()}, authorize, role(local_role))
    ours = isinstance(app, str)
    made = Longboat(app) if isinstance(app, str) else app
    site = Site(lambda: made.broker, shown(made.url), made.registry, title, no_code)
    return Dashboard(made, guard, site, closes=ours)
