"""The names of `django.tasks` (Django 6.0 and later), or else of the django-tasks backport."""

from __future__ import annotations

import importlib
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured

from longboat.executors.joblogs import NOT_KEPT

PACKAGE = "django.tasks" if django.VERSION[0] >= 6 else "django_tasks"

try:
    _base: Any = importlib.import_module(f"{PACKAGE}.base")
except ImportError as error:
    if PACKAGE == "django.tasks":
        raise
    raise ImproperlyConfigured(
        f"Django {django.__version__} has no tasks: pip install django-tasks, and add 'django_tasks' to INSTALLED_APPS"
    ) from error
_exceptions: Any = importlib.import_module(f"{PACKAGE}.exceptions")
importlib.import_module(f"{PACKAGE}.checks")
_signals: Any = importlib.import_module(f"{PACKAGE}.signals")

BaseTaskBackend: Any = importlib.import_module(f"{PACKAGE}.backends.base").BaseTaskBackend

Task: Any = _base.Task
TaskContext: Any = _base.TaskContext
TaskError: Any = _base.TaskError
TaskResult: Any = _base.TaskResult
TaskResultStatus: Any = _base.TaskResultStatus
normalize_json: Any = _base.normalize_json

InvalidTask: Any = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
TaskResultDoesNotExist: Any = _exceptions.TaskResultDoesNotExist

task_enqueued: Any = _signals.task_enqueued
task_started: Any = _signals.task_started
task_finished: Any = _signals.task_finished

NOT_KEPT.add(PACKAGE)  # the logger that these signals have: that a job runs, or has ended
LOGS = frozenset(id(_signals.__dict__[f"log_task_{name}"]) for name in ("enqueued", "started", "finished"))
"""The receivers that these signals have from the start."""
