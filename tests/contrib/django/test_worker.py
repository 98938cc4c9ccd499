"""`longboat worker` of a Django project, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contrib.django.conftest import SETTINGS

ROOT = Path(__file__).parents[3]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in the project, whose database is in a new directory."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")} | {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PROJECT_FOLDER": str(tmp_path),
    }

    def run(*command: str, status: int = 0, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=env | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_tasks_of_installed_apps_run_in_threads_coroutines_and_child_processes(run: Run) -> None:
    run("django", "migrate", "--run-syncdb", "-v0")
    make = "from tests.contrib.django.shop.models import Order; print(Order.objects.create(buyer='Ann').pk)"
    order = run("django", "shell", "-v0", "-c", make).split()[-1]
    for task in ("confirm", "aconfirm", "confirm_apart"):
        run("longboat", "enqueue", f"tests.contrib.django.shop.tasks.{task}", order)
    said = run("longboat", "worker", "--burst")
    assert said.count("succeeded") == 3, said
    assert "Order.objects" not in said


@pytest.mark.slow
def test_a_project_without_the_app_is_told_to_install_it(run: Run) -> None:
    said = run("longboat", "worker", "--burst", status=3, PROJECT_SETTINGS='{"INSTALLED_APPS": []}')
    assert "'longboat.contrib.django' is not in INSTALLED_APPS" in said
