"""The app that attacks on the dashboard look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from longboat import Longboat
from tests.rigs.dashboard import shop


@pytest.fixture
def bare() -> Iterator[Longboat]:
    with shop("memory://") as app:
        yield app
