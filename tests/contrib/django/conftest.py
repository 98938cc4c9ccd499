"""Sets Django up once for the tests of this folder, without a trace in the environment of other tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext

import django
import pytest

SETTINGS = "tests.contrib.django.project.settings"

with pytest.MonkeyPatch.context() as patch:
    patch.setitem(os.environ, "DJANGO_SETTINGS_MODULE", SETTINGS)
    django.setup()


@pytest.fixture(autouse=True)
def unblocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """The plugin pytest-django, where it is installed, keeps tests from the database."""
    there = request.config.pluginmanager.has_plugin("django")
    with request.getfixturevalue("django_db_blocker").unblock() if there else nullcontext():
        yield
