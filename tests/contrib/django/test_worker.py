"""`longboat worker` of a Django project, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from longboat import Longboat
from tests.contrib.django.conftest import SETTINGS
from tests.rigs.waiting import until

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


TASKS = """
from django.template.loader import render_to_string
from longboat.contrib.django import app

@app.task
def greet() -> str:
    return "%s" + render_to_string("greeting.txt")
"""


@pytest.mark.slow
def test_a_worker_follows_code_and_templates_as_runserver_does(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "django", "startproject", "site1", tmp_path], check=True, timeout=60)
    (tmp_path / "mail" / "templates").mkdir(parents=True)
    (tmp_path / "mail" / "__init__.py").touch()
    (tmp_path / "mail" / "tasks.py").write_text(TASKS % "1")
    (template := tmp_path / "mail" / "templates" / "greeting.txt").write_text("a")
    with (tmp_path / "site1" / "settings.py").open("a") as settings:
        settings.write("INSTALLED_APPS += ['longboat.contrib.django', 'mail']\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LONGBOAT_", "DJANGO_"))}
    manage = [sys.executable, str(tmp_path / "manage.py"), "longboat"]
    with Longboat(f"sqlite:///{tmp_path}/db.sqlite3") as client:

        def greeting() -> str:
            return str(client.send("mail.tasks.greet").result("30s"))

        worker = subprocess.Popen([*manage, "worker", "--reload"], cwd=tmp_path.parent, env=env)
        try:
            assert greeting() == "1a"
            # Changed again and again: the first look at the files may come after the first job.
            until(lambda: template.write_text("b") and greeting() == "1b", 60)
            (tmp_path / "mail" / "tasks.py").write_text(TASKS % "2")
            until(lambda: greeting() == "2b", 60)
        finally:
            worker.terminate()
            assert worker.wait(30) == 0
    found = subprocess.run(
        [*manage, "jobs", "--json", "--settings=site1.settings"], env=env, capture_output=True, check=True
    )
    assert b"mail.tasks.greet" in found.stdout


def test_call_command_runs_the_command_line_of_the_project(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match="exit status 2"):
        call_command("longboat", "jobs", "--nothing")
    call_command("longboat", "completion", "bash")
    assert "longboat" in capfd.readouterr().out
    assert os.environ.pop("LONGBOAT_APP") == "longboat.contrib.django.setup:app"


@pytest.mark.slow
def test_a_project_without_the_app_is_told_to_install_it(run: Run) -> None:
    said = run("longboat", "worker", "--burst", status=3, PROJECT_SETTINGS='{"INSTALLED_APPS": []}')
    assert "'longboat.contrib.django' is not in INSTALLED_APPS" in said
