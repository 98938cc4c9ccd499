"""The rules of tasks on every broker that is a server or a file, on every executor, and when a caller dies over them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat, State, group
from longboat.contract.capabilities import Capability
from tests.apps import rules_app
from tests.rigs.broker import URLS
from tests.rigs.fault import until
from tests.rigs.harnesses import unavailable

pytestmark = pytest.mark.slow

ABLE = ["sqlite", *(name for name in URLS if name != "rabbitmq")]


@pytest.fixture(params=ABLE)
def app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Longboat]:
    if why := unavailable(request.param):
        pytest.skip(why)
    with ExitStack() as stack:
        made: Any = URLS.get(request.param)
        url = stack.enter_context(made(tmp_path)) if made else f"sqlite:///{tmp_path}/jobs.db"
        monkeypatch.setenv("LONGBOAT_URL", url)  # for child processes
        monkeypatch.setattr(rules_app.app, "url", url)
        yield stack.enter_context(rules_app.app)


def test_a_caller_killed_over_a_key_swallows_no_call(app: Longboat) -> None:
    killed = subprocess.run([sys.executable, "-m", rules_app.__name__, "die"], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    job = rules_app.report.enqueue("ann")
    assert (job.new, app.job(job.id).status()) == (True, State.READY)
    assert [rules_app.report.enqueue("ann").id, rules_app.report.s("ann").enqueue().jobs()[0].id] == [job.id] * 2


def test_callers_at_the_same_time_make_one_job_of_each_call(app: Longboat) -> None:
    """One of them is killed somewhere on its way."""
    command = [sys.executable, "-m", rules_app.__name__, "race"]
    callers = [
        subprocess.Popen(command, env={**os.environ}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    with ExitStack() as stack:
        for each in callers:
            stack.enter_context(each)
            stack.callback(each.kill)
            assert each.stdout is not None
            assert each.stdout.readline() == "here\n"
        for each in callers:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        until(lambda: sum(app.broker.inspector.counts().values()) > 5, 30)
        callers[0].kill()
        assert [each.wait(60) for each in callers[1:]] == [0, 0]
    assert app.broker.inspector.counts() == {("later", State.READY): 40}


def test_jobs_made_by_jobs_heed_the_rules(app: Longboat) -> None:
    command = [sys.executable, "-m", rules_app.__name__, "told"]
    made = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=True).stdout.split()
    assert (len(made), len(set(made))) == (10, 1)
    assert app.job(made[0]).status() is State.READY


def test_a_limit_by_a_parent_s_result_holds(app: Longboat) -> None:
    if Capability.LIMITS not in app.broker.capabilities:
        pytest.skip("this broker has no limits")
    kinds: Any = [rules_app.bill, rules_app.bill_in_process]
    flow = group(*[rules_app.find.s(shop).then(kind) for shop in "ab" for kind in kinds]).enqueue()
    with app.worker(queues=["default"], processes=1):
        assert flow.result(30) == ["a", "a", "b", "b"]
    views = app.broker.inspector.find([job.id for job in flow.jobs()])
    limits = [limit.key for view in views if view and view.constraints for limit in view.constraints.limits]
    assert sorted(limits) == ["bill:a", "bill:a", "bill:b", "bill:b"]
