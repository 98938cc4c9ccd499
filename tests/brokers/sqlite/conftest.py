"""A store in a folder of its own, and jobs to put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.core.job import MESSAGE_VERSION, Job, new_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(path)
    yield broker
    broker.close()


@pytest.fixture
def job() -> Callable[..., Job]:
    return make_job


def make_job(job_id: str = "", **fields: object) -> Job:
    return Job(MESSAGE_VERSION, job_id or new_id(), "task", b"\x80", **fields)  # type: ignore[arg-type]  # the fields are of several types
