"""What Django is told of us, and what we learn of the project once Django is set up."""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.module_loading import module_has_submodule

from longboat.contrib.django import app
from longboat.contrib.django.migrated import migrated
from longboat.errors import ConfigError

SETUP = "longboat.contrib.django.setup"
"""It is imported before the tasks, in child processes too."""


class LongboatConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    name = "longboat.contrib.django"
    label = "longboat"
    verbose_name = "Longboat"

    def ready(self) -> None:
        """Tasks are in each installed app's `tasks` module: what runs or lists tasks imports them, a request need not."""
        found = [f"{each.name}.tasks" for each in apps.get_app_configs() if module_has_submodule(each.module, "tasks")]
        post_migrate.connect(migrated, sender=self)
        checks.register(named_broker)
        checks.register(one_writer, checks.Tags.database)
        checks.register(servable, checks.Tags.urls)
        app.registry.modules = list(dict.fromkeys([SETUP, *app.registry.modules, *found]))
        if any(str(each.get("BACKEND")).startswith(f"{self.name}.") for each in getattr(settings, "TASKS", {}).values()):
            importlib.import_module(f"{self.name}.compat")  # Django checks TASKS only once something has imported its tasks


def named_broker(**_: Any) -> list[checks.CheckMessage]:
    """Whether the settings say where jobs are kept, and by what way they get there."""
    try:
        repr((app.url, app.spool, app.outbox))  # who reads them is told
    except (ConfigError, ImproperlyConfigured) as error:
        what, *advice = str(error).split("\n", 1)
        return [checks.Error(what, hint=" ".join(advice) or None, id="longboat.E001")]
    return []


def one_writer(*, databases: Any = None, **_: Any) -> list[checks.CheckMessage]:
    """A transaction that reads before it writes fails if a worker wrote meanwhile, unless it began as one that writes."""
    found = [connections[alias] for alias in databases or () if connections[alias].vendor == "sqlite"]
    shared = [each for each in found if app.same_database(each) or each.alias == app.outbox_alias]
    wrong = [each for each in shared if not each.settings_dict["OPTIONS"].get("transaction_mode")]
    advice = 'Set "OPTIONS": {"transaction_mode": "IMMEDIATE"} (Django 5.1), or LONGBOAT = {"URL": "sqlite:///jobs.db"}.'
    text = "Workers write to the SQLite database of the site: its transactions may fail with 'database is locked'."
    return [checks.Warning(text, hint=advice, id="longboat.W001") for _ in wrong]


def servable(**_: Any) -> list[checks.CheckMessage]:
    """Whether what the dashboard needs is installed, where urls.py has it. A warning: workers do without."""
    with contextlib.suppress(Exception):  # Django's own checks say what is wrong with it
        importlib.import_module(settings.ROOT_URLCONF)
    if "longboat.contrib.django.page" not in sys.modules or all(map(find_spec, ("starlette", "jinja2"))):
        return []
    text = "urls.py has Longboat's dashboard, which needs packages that are not installed: each of its pages fails."
    return [checks.Warning(text, hint="pip install 'longboat[django]'", id="longboat.W003")]
