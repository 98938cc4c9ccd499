"""RabbitMQ alone: calls with one key make one job, and whoever ends the job lets go of the key."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import BrokerUnavailable, JobCancelled, JobFailed, Longboat, Unique, group
from longboat.contract import held
from longboat.core import urls
from longboat.core.codec import decoded
from longboat.core.job import State
from longboat.operate import unique
from longboat.tasks.handle import Handle
from tests.rigs.broker import URLS
from tests.rigs.harnesses import unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:
        yield made


def report(app: Longboat, rule: Unique | None = None, **options: Any) -> Any:
    @app.task(unique=rule or Unique(by="{user}"), name="report", retries=0, **options)
    def report(user: str, n: int = 0) -> int:
        if n < 0:
            raise ValueError("no")
        return n if user else 0

    return report


def holders(app: Longboat) -> list[str]:
    """The ids of the jobs that hold keys, by a copy of the stream that has all of it."""
    with Longboat(urls.whole(app.url)) as other:
        found = [decoded(value, held.Holder) for _, value in other.broker.kv.entries(held.NAMESPACE)]
    return [each.id for each in found if each]


def ended(handle: Handle[Any]) -> str:
    try:
        return repr(handle.result(20))
    except (JobFailed, JobCancelled) as error:
        return type(error).__name__


def test_a_second_call_gets_the_job_that_holds_the_key_until_it_ends(app: Longboat) -> None:
    """From this process and from another one; however it ends; and in a group, where others have their own."""
    task = report(app)
    first, bob = task.enqueue("ann", 1), task.enqueue("bob", -1)
    cancelled = task.enqueue("cid")
    expired = task.using(expires="1ms").enqueue("dan")
    assert cancelled.cancel()
    with Longboat(urls.whole(app.url)) as other:
        second = report(other).enqueue("ann", 2)
    both = [each.id for each in group(task.s("ann"), task.s("eve", 5)).enqueue().jobs()]
    assert (first.new, second.new, second.id, both[0]) == (True, False, first.id, first.id)
    assert app.broker.inspector.counts()["default", State.READY] == 5
    with app.worker():
        ends = [ended(each) for each in (first, bob, cancelled, expired)]
        assert ends == ["1", "JobFailed", "JobCancelled", "JobCancelled"] or ends[-1] == "JobExpired"
        assert app.job(both[1]).result(20) == 5
        again = [task.enqueue(name) for name in ("ann", "bob", "cid", "dan", "eve")]  # at once after they were told
        assert [each.new for each in again] == [True] * 5
        assert [ended(each) for each in again] == ["0"] * 5
    assert holders(app) == []


def test_the_steps_of_chains_hold_their_keys_and_let_go_of_them(app: Longboat) -> None:
    task = report(app)

    @app.task(name="begin", retries=0)
    def begin(fails: bool) -> str:
        if fails:
            raise ValueError("no")
        return "x"

    @app.task(name="follow", unique=Unique(by="{user}"), retries=0)
    def follow(before: object, user: str) -> str:
        return f"{before}{user}"

    good, bad = begin.s(False).then(follow, "ann").enqueue(), begin.s(True).then(follow, "bob").enqueue()
    assert follow.enqueue(0, "ann").id == good.jobs()[1].id
    assert follow.enqueue(0, "bob").id == bad.jobs()[1].id
    with app.worker():
        assert good.result(20) == "xann"
        with pytest.raises(JobFailed):
            bad.result(20)
        assert follow.enqueue(0, "ann").new
        assert follow.enqueue(0, "bob").new
        until(lambda: holders(app) == [], 10)
    assert task.enqueue("ann").new


@pytest.mark.parametrize("rule", ["started", "latest", "window"])
def test_the_other_rules(app: Longboat, rule: str) -> None:
    began, go = threading.Event(), threading.Event()
    rules = {
        "started": Unique(by="{user}", until="started"),
        "latest": Unique(by="{user}", latest=True),
        "window": Unique(by="{user}", until="10m"),
    }

    @app.task(name="slow", unique=rules[rule], retries=0)
    def slow(user: str, n: int) -> int:
        began.set()
        assert go.wait(20)
        return n if user else 0

    first = slow.enqueue("ann", 1)
    second = slow.enqueue("ann", 2)
    assert second.new is (rule == "latest")
    with app.worker(threads=2):
        assert began.wait(20)
        third = slow.enqueue("ann", 3)
        assert third.new is (rule == "started")
        go.set()
        if rule == "latest":
            assert ended(first) == "JobCancelled"
            assert (third.id, ended(second)) == (second.id, "2")
        else:
            assert ended(first) == "1"
        assert slow.enqueue("ann", 4).new is (rule != "window")


def test_a_worker_that_is_killed_keeps_the_key_for_the_next(app: Longboat) -> None:
    code = f"""
import os, signal
from longboat import Longboat, Unique
app = Longboat({urls.whole(app.url)!r})
@app.task(unique=Unique(by="{{user}}"), name="report")
def report(user: str, n: int = 0) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
with app.worker() as worker:
    worker.finished.wait()
"""
    task = report(app)
    first = task.enqueue("ann", 1)
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert task.enqueue("ann").id == first.id
    with app.worker():
        assert first.result(20) == 1
        assert task.enqueue("ann").new


def test_a_put_that_failed_does_not_swallow_the_next(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can look whether the job is there. So the next call waits until it must be, and puts it again."""
    task = report(app)
    monkeypatch.setattr(unique, "PATIENCE", 0.3)
    with monkeypatch.context() as broken:
        broken.setattr(app.broker, "put", _refuse)
        with pytest.raises(BrokerUnavailable):
            task.enqueue("ann", 1)
    again = task.enqueue("ann", 2)
    assert again.new
    with app.worker():
        assert again.result(20) == 2
    assert holders(app) == []


def test_purged_and_retried_jobs(app: Longboat) -> None:
    """Whoever deletes ready jobs lets go of their keys; a dead job that is retried takes its key again."""
    task = report(app)
    task.enqueue("ann")
    assert app.broker.inspector.purge([State.READY]) == 1
    dead = task.enqueue("ann", -1)
    assert dead.new
    with app.worker(burst=True) as worker:
        assert worker.finished.wait(20)
    assert holders(app) == []
    assert app.broker.inspector.retry([dead.id]) == [dead.id]
    assert task.enqueue("ann").id == dead.id


def _refuse(*_: Any, **__: Any) -> list[str]:
    raise BrokerUnavailable("no")
