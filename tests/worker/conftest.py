"""An app with the tasks of worker_tasks.py, on each embedded broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from tests.apps import worker_tasks


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, brisk: None) -> Iterator[Longboat]:  # noqa: ARG001  # it is made in a brisk program
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    with Longboat(url) as made:
        yield made


@pytest.fixture
def tasks(app: Longboat) -> Iterator[Any]:
    worker_tasks.calls.clear()
    worker_tasks.limit.clear()
    yield worker_tasks.declare(app)
    worker_tasks.limit.set()
