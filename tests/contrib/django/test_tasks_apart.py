"""Jobs of the backend of TASKS in other processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from longboat.contrib.django import app
from longboat.contrib.django.compat import TaskResultStatus
from longboat.errors import JobFailed
from tests.contrib.django.chores import tasks
from tests.contrib.django.conftest import SETTINGS

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_child_processes_find_their_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_URL", f"sqlite:///{tmp_path}/children.db")
    env = os.environ | {"DJANGO_SETTINGS_MODULE": SETTINGS, "PROJECT_FOLDER": str(tmp_path)}
    result, flaky, died = ended = tasks.add_apart.enqueue(1), tasks.flaky_apart.enqueue(2), tasks.die.enqueue()
    with subprocess.Popen([sys.executable, "-m", "longboat", "worker"], env=env, cwd=ROOT) as worker:
        try:
            for each in ended:
                with contextlib.suppress(JobFailed):
                    app.job(each.id).result("60s")
                each.refresh()
        finally:
            worker.terminate()
    app.close()
    assert (result.return_value, result.attempts) == (2, 1)
    assert flaky.return_value[0] == 2
    assert flaky.worker_ids == [*result.worker_ids, *result.worker_ids]
    assert died.status == TaskResultStatus.FAILED
    assert died.errors[-1].exception_class_path == "longboat.errors.JobFailed"
