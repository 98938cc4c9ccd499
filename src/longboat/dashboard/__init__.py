"""The dashboard: pages and a JSON API over a broker, by its URL alone or mounted in another program.

    app.mount("/jobs", longboat_dashboard(app))     # FastAPI, Starlette; any ASGI program

Its process holds no state: whatever has to be kept is kept with the broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from longboat.app import Longboat
from longboat.errors import MissingExtra
from longboat.observe import metrics

if TYPE_CHECKING:
    from longboat.dashboard.guard import Authorize
    from longboat.dashboard.mounted import Dashboard

__all__ = ["longboat_dashboard"]


def longboat_dashboard(
    app: Longboat | str,
    *,
    tokens: Mapping[str, str] | None = None,
    authorize: Authorize | None = None,
    local_role: str | None = None,
    title: str = "",
    no_code: str = "",
) -> Dashboard:
    """The dashboard of an app, or of the broker at a URL, as an ASGI application.

    Who is let in is said by one of these. `tokens`: secret -> "viewer", "operator" or "admin". `authorize`: called with each
    request; returns one of these roles, or None. `local_role`: the role of everybody on this machine, and nobody else.
    Without them a token for an admin is made and logged as a warning; it is good until this process ends.

    `no_code`: why the app's tasks are not known here, which the page of tasks shows. Nothing is opened before the first
    request; `close()` closes it. Raises MissingExtra without the extra "web", ConfigError for tokens that can be guessed
    and for unknown roles.
    """
    try:
        from longboat.dashboard.guard import Guard
        from longboat.dashboard.mounted import Dashboard, role
        from longboat.dashboard.sessions import Sessions
        from longboat.dashboard.site import Site
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "jinja2", "markupsafe"):
            raise
        raise MissingExtra("the dashboard needs more packages: pip install 'longboat[web]'") from None
    metrics.labels()
    ours = isinstance(app, str)
    made = Longboat() if isinstance(app, str) else app
    if isinstance(app, str):
        made.url = app  # this one, also where LONGBOAT_URL names another
    roles = {token: role(name) for token, name in (tokens or {}).items()}
    local = None if local_role is None else role(local_role)
    guard = Guard(roles, authorize, local, Sessions(lambda: made.broker))
    site = Site(made, title, no_code)
    return Dashboard(made, guard, site, closes=ours)
