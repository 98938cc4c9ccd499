"""What Django is told of us, and what we learn of the project once Django is set up."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.module_loading import module_has_submodule

from longboat.contrib.django import app

SETUP = "longboat.contrib.django.setup"
"""It is imported before the tasks, in child processes too."""


class LongboatConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    name = "longboat.contrib.django"
    label = "longboat"
    verbose_name = "Longboat"

    def ready(self) -> None:
        """Tasks are in each installed app's `tasks` module: what runs or lists tasks imports them, a request need not."""
        found = [f"{each.name}.tasks" for each in apps.get_app_configs() if module_has_submodule(each.module, "tasks")]
        app.registry.modules = list(dict.fromkeys([SETUP, *app.registry.modules, *found]))
