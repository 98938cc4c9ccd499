"""A limit whose key is made of a parent's result: it is made when that is known, and holds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import JobFailed, Limit, Longboat, State, group
from longboat.core.constraints import LATER
from longboat.core.job import Release
from longboat.errors import LongboatError


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    with Longboat("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db") as made:
        yield made


def test_the_key_is_made_when_it_is_known_and_holds(app: Longboat) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @app.task(name="find")
    async def find(shop: str) -> dict[str, str]:
        return {"name": shop}

    @app.task(name="bill", limit=Limit(key="{shop.name}", running=2))
    async def bill(shop: dict[str, str], n: int = 0) -> int:
        running[shop["name"]] += 1
        most[shop["name"]] = max(most[shop["name"]], running[shop["name"]])
        await asyncio.sleep(0.02)
        running[shop["name"]] -= 1
        return n

    flow = group(*[find.s(shop).then(bill, n) for n, shop in enumerate("abababababab")]).enqueue()
    last = app.broker.inspector.find([job.id for job in flow.jobs()[1::2]])
    assert all(view and view.constraints and view.constraints.limits == [LATER] for view in last)
    direct = [bill.enqueue({"name": "a"}, 99) for _ in range(6)]
    with app.worker():
        assert flow.result(20) == list(range(12))
        assert [job.result(10) for job in direct] == [99] * 6
    assert most == Counter(a=2, b=2)
    seen = app.broker.inspector.find([flow.jobs()[1].id])[0]
    assert seen is not None
    assert seen.constraints is not None
    assert [limit.key for limit in seen.constraints.limits] == ["bill:a"]
    assert seen.attempts == 1


def test_every_limit_is_made_then_and_counts_once(app: Longboat) -> None:
    """A rate counts the start, not the look that learnt the key."""

    @app.task(name="one")
    def one() -> int:
        return 1

    @app.task(name="call", limit=[Limit(key="{n}", running=1), Limit(rate="2/h", name="all")])
    def call(n: int) -> int:
        return n

    flows = [one.s().then(call).enqueue() for _ in range(3)]
    ended = threading.Semaphore(0)

    def wait(flow: Any) -> None:
        with contextlib.suppress(LongboatError):  # the app is closed over the last one
            flow.result()
            ended.release()

    with app.worker():
        for flow in flows:
            threading.Thread(target=wait, args=[flow], daemon=True).start()
        assert ended.acquire(timeout=10)
        assert ended.acquire(timeout=10)
        assert not ended.acquire(timeout=0.3)
    ends = [flow.jobs()[1].status() for flow in flows]
    assert sorted(ends) == [State.SUCCEEDED, State.SUCCEEDED, State.WAITING]


def test_a_result_that_makes_no_key_is_told(app: Longboat) -> None:
    @app.task(name="one")
    def one() -> Any:
        return {"other": 1}

    @app.task(name="call", limit=Limit(key="{n.shop}", running=1))
    def call(n: Any) -> int:
        return 1 if n else 0

    with app.worker():
        with pytest.raises(JobFailed, match=r"the key '\{n.shop\}' cannot be made"):
            one.s().then(call).enqueue().result(10)
        assert call.enqueue({"shop": 1}).result(10) == 1


def test_a_task_that_has_lost_its_limits_runs(app: Longboat) -> None:
    @app.task(name="one")
    def one() -> int:
        return 1

    @app.task(name="call", limit=Limit(key="{n}", running=1))
    def call(n: int) -> int:
        return n

    flow = one.s().then(call).enqueue()
    call.template.limits = ()
    with app.worker():
        assert flow.result(10) == 1


def test_a_release_without_limits_keeps_them() -> None:
    assert Release().limits is None
