"""Flask: the extension, `flask longboat …`, and the dashboard as a blueprint.

    from longboat.contrib.flask import Longboat

    longboat = Longboat()
    longboat.init_app(app)

Each job runs in an application context of its own.
"""

from __future__ import annotations

from longboat.contrib.flask.extension import Longboat

__all__ = ["Longboat"]
