"""Jobs of the backend of TASKS in other processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat.contrib.django import app
from longboat.contrib.django.compat import TaskResultStatus, task_finished
from longboat.errors import JobFailed, ResultError, Unsupported
from tests.contrib.django.chores import tasks
from tests.contrib.django.conftest import SETTINGS
from tests.rigs import harnesses
from tests.rigs.broker import URLS
from tests.rigs.servers import postgres
from tests.rigs.servers.process import HOST

ROOT = Path(__file__).parents[3]


pytestmark = pytest.mark.slow


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


def test_manage_py_check_looks_at_tasks_although_nothing_has_imported_them(tmp_path: Path) -> None:
    backend = {"BACKEND": "longboat.contrib.django.LongboatBackend", "OPTIONS": {"retrys": 3}}
    env = os.environ | {"DJANGO_SETTINGS_MODULE": SETTINGS, "PROJECT_FOLDER": str(tmp_path)}
    apps = ["django.contrib.contenttypes", "django.contrib.auth", "longboat.contrib.django"]
    env["PROJECT_SETTINGS"] = json.dumps(
        {"TASKS": {"default": backend}, "INSTALLED_APPS": apps, "ROOT_URLCONF": "django.contrib.auth.urls"}
    )
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "(longboat.E001) TASKS['default']: OPTIONS: unknown option 'retrys'; there are backoff, " in done.stderr
    assert done.returncode == 1


@pytest.fixture(params=[name for name in URLS if name != "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    why = harnesses.unavailable(request.param.partition("+")[0])
    if why is not None:
        pytest.skip(why)
    with URLS[request.param](tmp_path) as url:
        monkeypatch.setenv("LONGBOAT_URL", url)
        app.close()
        yield request.param
        app.close()


@pytest.mark.usefixtures("broker")
def test_results_are_the_same_on_every_broker() -> None:
    good, flaky, bad = results = (
        tasks.aadd.enqueue(1, b=2),
        tasks.flaky.enqueue(2),
        tasks.leave.using(priority=-7).enqueue("exit"),
    )
    for each in results:
        assert each.task.get_result(each.id) == each
    with app.worker() as worker:
        for each in results:
            with contextlib.suppress(ResultError):
                app.job(each.id).result("30s")
        for each in results:
            each.refresh()
    assert (good.status, good.return_value, good.args, good.kwargs) == (TaskResultStatus.SUCCESSFUL, 3, [1], {"b": 2})
    assert good.worker_ids == bad.worker_ids == [worker.name]
    assert good.enqueued_at <= good.started_at == good.last_attempted_at <= good.finished_at
    assert flaky.worker_ids == [worker.name] * 2
    assert flaky.return_value == [2, [worker.name] * 2, [flaky.errors[0].exception_class_path]]
    assert flaky.enqueued_at <= flaky.started_at < flaky.last_attempted_at <= flaky.finished_at
    assert (bad.status, bad.task.priority, bad.errors[0].exception_class) == (TaskResultStatus.FAILED, -7, SystemExit)
    assert bad.enqueued_at <= bad.started_at == bad.last_attempted_at <= bad.finished_at


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
@pytest.mark.usefixtures("broker")
def test_tasks_run_where_no_job_can_be_looked_up() -> None:
    told: list[Any] = []
    ended = threading.Event()

    def hear(task_result: Any, **_: Any) -> None:
        told.append(task_result)
        ended.set()

    task_finished.connect(hear)
    try:
        result = tasks.flaky.enqueue(2)
        with pytest.raises(Unsupported):
            result.refresh()
        with app.worker() as worker:
            assert ended.wait(30)
    finally:
        task_finished.disconnect(hear)
    assert (told[0].id, told[0].status) == (result.id, TaskResultStatus.SUCCESSFUL)
    assert (told[0].attempts, told[0].worker_ids[-1]) == (2, worker.name)


ENDLESS = """
import django; django.setup()
from django.db import transaction
from tests.contrib.django.chores.tasks import add
from tests.contrib.django.shop.models import Order

while True:
    with transaction.atomic():
        order = Order.objects.create(buyer="Ann")
        add.enqueue(order.pk)
        print(order.pk, flush=True)
"""


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_who_is_killed_within_a_transaction_leaves_row_and_job_or_neither(vendor: str, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
    env |= {"DJANGO_SETTINGS_MODULE": SETTINGS, "PROJECT_FOLDER": str(tmp_path)}
    if vendor == "postgresql":
        if (why := postgres.available()) is not None:
            pytest.skip(why)
        server = harnesses._postgres_server()
        server.query("DROP DATABASE IF EXISTS killed WITH (FORCE)")
        server.query("CREATE DATABASE killed")
        database: dict[str, Any] = {"ENGINE": "django.db.backends.postgresql", "NAME": "killed", "USER": "longboat"}
        database |= {"HOST": HOST, "PORT": server.port}
        env |= {"PROJECT_SETTINGS": json.dumps({"DATABASES": {"default": database}})}

    def said(code: str) -> str:
        command = [sys.executable, "-c", f"import django; django.setup()\n{code}"]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True).stdout

    said("from django.core.management import call_command; call_command('migrate', run_syncdb=True, verbosity=0)")
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", ENDLESS], cwd=ROOT, env=env, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            program.stdout.readline()  # it is at it
            time.sleep(random.random() / 5)
            program.send_signal(signal.SIGKILL)
    told = said("""
import json
from longboat.contrib.django import app
from longboat.core import codec
from longboat.core.job import State
from tests.contrib.django.shop.models import Order
jobs, after = [], None
while True:
    page = app.broker.inspector.jobs(State.READY, after=after)
    jobs += [codec.decode(view.payload)["a"] for view in page.jobs]
    if (after := page.after) is None:
        break
print(json.dumps([sorted(Order.objects.values_list("pk", flat=True)), sorted(jobs)]))
""")
    orders, jobs = json.loads(told)
    assert orders == jobs
    assert len(jobs) >= 2
