"""What restarts runserver restarts a worker with --reload too: Django's autoreloader looks."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.utils import autoreload


def watch(changed: Callable[[], object]) -> None:
    """Call `changed` once, from another thread, when Django would restart runserver.

    As there, changed templates and translations are only read again, and `autoreload_started` may add files to watch.
    """

    def look() -> None:
        reloader = autoreload.get_reloader()
        autoreload.autoreload_started.send(sender=reloader)
        try:
            reloader.run_loop()
        except SystemExit:  # how it says so
            changed()

    threading.Thread(target=look, name="longboat-reload-django", daemon=True).start()
