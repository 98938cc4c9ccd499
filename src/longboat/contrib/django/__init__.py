"""For Django: `INSTALLED_APPS += ["longboat.contrib.django"]`, and in an app's tasks.py

from longboat.contrib.django import app

@app.task
def confirm(order_id: int) -> None: ...

or, for tasks of `django.tasks`, `TASKS = {"default": {"BACKEND": "longboat.contrib.django.LongboatBackend"}}`.
"""

import importlib
from typing import Any

from longboat.contrib.django.app import app as app
from longboat.contrib.django.options import options as options


def __getattr__(name: str) -> Any:
    """What needs `django.tasks`, which not every project has: LongboatBackend and LongboatTask."""
    if name not in ("LongboatBackend", "LongboatTask"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.backend"), name)
