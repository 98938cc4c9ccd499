"""The Longboat of the Flask app that `flask` would run: FLASK_APP, else the one in wsgi.py or app.py.

`flask longboat …` names this module as LONGBOAT_APP, so that workers and their child processes make the app
as `flask` does.
"""

from __future__ import annotations

import os

from flask.cli import NoAppException, ScriptInfo

from longboat.contrib.flask.extension import Longboat
from longboat.errors import AppNotFound


def _found() -> Longboat:
    try:
        made = ScriptInfo(os.environ.get("FLASK_APP")).load_app()
    except NoAppException as error:
        raise AppNotFound(f"there is no Flask app: {error}\nName it by `flask --app MODULE …` or FLASK_APP.") from error
    found = made.extensions.get("longboat")
    if not isinstance(found, Longboat):
        raise AppNotFound(
            f"the Flask app {made.name!r} has no Longboat\nCall init_app(app) of one where the Flask app is made."
        )
    return found


app = _found()
