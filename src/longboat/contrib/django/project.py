"""The Django project of this process, which DJANGO_SETTINGS_MODULE names."""

from __future__ import annotations

import django
from django.apps import apps

from longboat.errors import ConfigError

NAME = "longboat.contrib.django"


def set_up() -> None:
    """Set Django up, unless it is. Raises ConfigError, and whatever importing the project raises."""
    if not apps.ready:
        django.setup(set_prefix=False)
    if not apps.is_installed(NAME):
        raise ConfigError(f"{NAME!r} is not in INSTALLED_APPS.\nAdd it there, or name another app.")
