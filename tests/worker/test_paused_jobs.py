"""Pauses of single jobs, by the key of a limit or by a search: they wait, also those that come later, and others run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from longboat import Limit, Longboat
from longboat.contract.capabilities import Capability
from longboat.core.job import State
from longboat.errors import ConfigError, Unsupported
from longboat.operate import pauses
from longboat.operate.explain import explain
from tests.rigs import harnesses
from tests.rigs.waiting import until
from tests.worker.test_watched import address

SERVED = [pytest.param(name, marks=pytest.mark.slow) for name in ("redis", "postgres", "manager", "rabbitmq+store")]


@pytest.fixture(params=["memory", "sqlite", *SERVED])
def app(request: pytest.FixtureRequest, tmp_path: Path, brisk: None) -> Iterator[Longboat]:  # noqa: ARG001  # it is brisk
    if why := harnesses.unavailable(request.param):
        pytest.skip(why)
    with ExitStack() as stack:
        url = "memory://"
        if request.param != "memory":
            url = stack.enter_context(address(request.param, tmp_path, lambda: harnesses._rabbitmq_server().url))
        app = stack.enter_context(Longboat(url))

        limited = Capability.LIMITS in app.broker.capabilities

        @app.task(name="send", limit=Limit(key="{customer}", running=10) if limited else [])
        def send(customer: str) -> str:
            return customer

        yield app


@pytest.mark.parametrize(("kind", "name"), [("limit", "send:acme"), ("search", "args.customer:acme task:se*")])
def test_jobs_of_one_customer_wait_and_others_run(app: Longboat, kind: Any, name: str) -> None:
    send: Any = app.registry.tasks["send"]
    name = pauses.checked(kind, name)
    if kind == "limit" and Capability.LIMITS not in app.broker.capabilities:
        with pytest.raises(Unsupported, match="cannot limit how many jobs run"):
            pauses.check(app.broker, kind)
        return
    pauses.check(app.broker, kind)
    assert pauses.pause(app.broker.kv, kind, name, True)
    before = [send.enqueue("acme") for _ in range(3)]
    with app.worker(threads=2, queues=["default"]), app.worker(threads=2, queues=["default"]):
        assert send.enqueue("other").result(30) == "other"
        later = send.enqueue("acme")
        held = [*before, later]
        until(lambda: all(each.status() is State.WAITING for each in held), 60)
        assert send.enqueue("other").result(30) == "other", "jobs of the same task run on"
        assert {(each.view().attempts, len(each.view().failures)) for each in held} == {(0, 0)}
        told = f"jobs {'of limit' if kind == 'limit' else 'that match'} {name} are paused"
        until(lambda: explain(app.broker, later.id) == told, 60)  # each worker may receive it once
        pauses.pause(app.broker.kv, "search", "args.customer:nobody", True)
        assert pauses.pause(app.broker.kv, kind, name, False)
        assert [each.result(30) for each in held] == ["acme"] * 4, "another pause does not keep them"


def test_what_names_no_jobs_is_refused() -> None:
    assert pauses.checked("search", "args.customer:acme   queue:mail") == "queue:mail args.customer:acme"
    for wrong in ("", "free", "state:dead", "task:a error:boom", "nonsense:1 task:a"):
        with pytest.raises(ConfigError):
            pauses.checked("search", wrong)
    with pytest.raises(ConfigError, match="1 to 280"):
        pauses.checked("limit", "k" * 281)
