"""RabbitMQ alone: how far a flow is, in every process, by what workers noted of its jobs."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from longboat import JobFailed, Longboat, State, group
from longboat.client import flows
from longboat.connect import connect
from longboat.contract import flow_ends
from longboat.core import urls
from tests.rigs.broker import URLS
from tests.rigs.cli import Shell
from tests.rigs.harnesses import unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


def test_a_flow_tells_what_became_of_its_jobs(tmp_path: Path) -> None:
    """Of a group all ends, of a chain that failed what waits in vain; what runs, and what nobody knows of."""
    go, wrong = threading.Event(), threading.Event()
    wrong.set()
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as app, closing(connect(url)) as other:

        @app.task(name="one", retries=0)
        def one(x: int) -> int:
            return x + 1

        @app.task(name="fragile", retries=0)
        def fragile(x: int) -> int:
            if wrong.is_set():
                raise ValueError("no")
            return x

        @app.task(name="held", retries=0)
        def held(x: int) -> int:
            go.wait(60)
            return x

        whole = group(*[one.s(n) for n in range(3)]).enqueue()
        failed, running = one.s(1).then(fragile).then(one).enqueue(), held.s(1).then(one).enqueue()
        assert flows.status(other, whole.id).unknown == 3
        assert not whole.status().ended
        with app.worker(threads=2):
            assert whole.result("20s") == [1, 2, 3]
            until(lambda: flows.status(other, whole.id).jobs == Counter({State.SUCCEEDED: 3}), 10)
            assert whole.status().ended
            with pytest.raises(JobFailed):
                failed.result("20s")
            in_vain = Counter({State.SUCCEEDED: 1, State.DEAD: 1, State.WAITING: 1})
            until(lambda: flows.status(other, failed.id).jobs == in_vain, 10)  # another process hears of it a moment later
            found = flows.status(other, failed.id)
            until(lambda: flows.status(other, running.id).jobs[State.RUNNING] == 1, 10)
            assert flows.status(other, running.id).unknown == 1
            shell = Shell(tmp_path)
            listed = shell.run("flows", "list", "--url", urls.whole(app.url)).out
            assert "1 dead, 1 succeeded, 1 waiting" in listed
            assert "1 running, 1 not known to have ended" in listed
            assert running.jobs()[0].id in shell.run("jobs", "task:held", "--url", urls.whole(app.url)).out
            shown = shell.run("flows", "show", failed.id, "--url", urls.whole(app.url)).out
            assert [line.split()[1] for line in shown.splitlines()[1:]] == ["succeeded", "dead", "waiting"]
            wrong.clear()
            assert other.inspector.retry(found.failed) == found.failed
            until(lambda: flows.status(other, failed.id).jobs == Counter({State.SUCCEEDED: 3}), 20)
            go.set()
            assert running.result("20s") == 2
        assert flow_ends.ends(other.kv, running.id).keys() == {each.id for each in running.jobs()}
