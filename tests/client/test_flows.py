"""Flows, limits and unique calls as a program uses them: chains, groups, graphs, on a real worker in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

import longboat
from longboat import (
    ConfigError,
    JobCancelled,
    JobFailed,
    JobNotFound,
    Limit,
    Longboat,
    State,
    Unique,
    chain,
    chord,
    group,
)
from longboat.core.portions import TOGETHER
from longboat.errors import BadArguments, ResultTimeout, TooLarge


class Broken:
    """Whether `fragile` raises."""

    now = False


@pytest.fixture
def app() -> Iterator[Longboat]:
    Broken.now = False
    with Longboat("memory://") as made:
        yield made


def tasks(app: Longboat) -> Any:
    @app.task(name="add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @app.task(name="total")
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="pair")
    def pair(left: int, right: int, *, sign: str = "+") -> str:
        return f"{left}{sign}{right}"

    @app.task(name="fragile")
    async def fragile(a: int) -> int:
        if Broken.now:
            raise ValueError("it broke")
        return a

    return SimpleNamespace(add=add, total=total, pair=pair, fragile=fragile)


def test_a_chain_a_group_and_a_chord(app: Longboat) -> None:
    t = tasks(app)
    chained = t.add.s(1).then(t.add, b=10).then(t.pair, 5, sign="*").enqueue()
    grouped = group(t.add.s(1), t.add.s(2), t.add.s(1).then(t.add, 2)).enqueue()
    corded = chord([t.add.s(n) for n in range(20)], t.total).enqueue()
    with app.worker():
        assert chained.result(10) == "12*5"
        assert grouped.result(10) == [2, 3, 4]
        assert corded.result(10) == sum(range(20)) + 20
        assert chain(t.add.s(0), *[t.add] * 30).enqueue().result(10) == 31


@pytest.mark.parametrize("awaited", [False, True])
def test_a_group_without_members_succeeds_with_an_empty_list(app: Longboat, awaited: bool) -> None:
    async def get(signature: Any) -> Any:
        return await (await signature.aenqueue())

    def result(signature: Any) -> Any:
        return asyncio.run(get(signature)) if awaited else signature.enqueue().result(10)

    t = tasks(app)

    @app.task(name="sizes")
    async def sizes(lists: list[list[int]]) -> list[int]:
        return [len(each) for each in lists]

    with app.worker():
        assert result(group()) == []
        assert result(group(group(), group(group()))) == [[], [[]]]
        assert result(group(group(), t.add.s(1))) == [[], 2]
        assert result(chord([], t.total)) == 0
        assert result(chord([], t.total).then(t.add, 5)) == 5
        assert result(group(group(), group(t.add.s(1))).then(sizes)) == [0, 1]
        assert result(sizes.s([group().value, group().value])) == [0, 0]
    flow = group().enqueue()
    assert (flow.status().ended, flow.status().total, flow.cancel(), flow.jobs()) == (True, 0, 0, [])


def test_any_graph_by_values(app: Longboat) -> None:
    t = tasks(app)
    root = t.add.s(1)
    left, right = root.then(t.add, 10), root.then(t.add, 100)
    joined = t.pair.s(left.value, right=right.value)
    flow = t.total.s([root.value, left.value]).then(t.pair, 0).enqueue()
    with app.worker():
        assert joined.enqueue().result(10) == "12+102"
        assert flow.result(10) == "14+0"
        assert group(group(t.add.s(1), t.add.s(2)), group(t.add.s(3))).enqueue().result(10) == [[2, 3], [4]]
        assert [handle.task for handle in flow.jobs()] == ["add", "add", "total", "pair"]
        assert flow.status().jobs == Counter({State.SUCCEEDED: 4})
        assert flow.status().ended


def test_a_flow_is_awaited_and_found_by_its_id(app: Longboat) -> None:
    t = tasks(app)

    async def main() -> None:
        async with app.worker():
            flow = await t.add.s(1).then(t.add).aenqueue()
            assert await flow == 3
            assert await app.flow(flow.id) == 3

    asyncio.run(main())
    with pytest.raises(JobNotFound, match="no flow"):
        app.flow("nobody's")


def test_a_dead_parent_is_told_at_once_and_its_revival_lets_the_flow_go_on(app: Longboat) -> None:
    t = tasks(app)
    Broken.now = True
    flow = t.add.s(1).then(t.fragile).then(t.add).then(t.add).enqueue()
    last = flow.jobs()[-1]
    with app.worker():
        with pytest.raises(JobFailed, match=r"fragile.*it broke"):
            flow.result(10)
        began = time.monotonic()
        with pytest.raises(JobFailed, match=r"fragile.*it broke"):
            app.job(last.id).result(10)
        assert time.monotonic() - began < 5
        status = flow.status()
        assert status.failed == [flow.jobs()[1].id]
        assert status.jobs == Counter({State.WAITING: 2, State.SUCCEEDED: 1, State.DEAD: 1})
        Broken.now = False
        assert app.broker.inspector.retry(status.failed) == status.failed
        assert flow.result(10) == 4
        assert last.result(10) == 4


def test_a_flow_is_cancelled_as_a_whole(app: Longboat) -> None:
    t = tasks(app)
    flow = t.add.using(delay="1h").s(1).then(t.add).then(t.add).enqueue()
    assert flow.cancel() == 3
    with pytest.raises(JobCancelled):
        flow.result(5)
    assert flow.status().jobs == Counter({State.CANCELLED: 3})
    assert flow.cancel() == 0


def test_a_flow_grows_while_it_runs(app: Longboat) -> None:
    t = tasks(app)

    @app.task(name="spread")
    async def spread(n: int) -> int:
        for _ in range(n):
            await asyncio.to_thread(longboat.current().enqueue, t.add, n)
        return n

    with app.worker():
        flow = t.add.s(1).then(spread).then(t.add).enqueue()
        assert flow.result(10) == 3
        until = time.monotonic() + 10
        while not flow.status().ended and time.monotonic() < until:
            time.sleep(0.01)
        assert flow.status().jobs == Counter({State.SUCCEEDED: 5})
        assert [handle.task for handle in flow.jobs()] == ["add", "spread", "add", "add", "add"]


def test_a_flow_that_takes_too_long_is_told(app: Longboat) -> None:
    t = tasks(app)
    with pytest.raises(ResultTimeout, match="it goes on"):
        t.add.s(1).then(t.add).enqueue().result(0.1)


def test_wrong_calls_are_refused_before_anything_is_stored(app: Longboat) -> None:
    t = tasks(app)
    with pytest.raises(BadArguments, match="add"):
        t.add.s("one").then(t.add).enqueue()
    with pytest.raises(BadArguments, match="unexpected"):
        t.add.s(1).then(t.add, nonsense=1).enqueue()
    with pytest.raises(ConfigError, match="run_at cannot be kept"):
        t.add.s(1).then(t.add.using(run_at=datetime.now(UTC))).enqueue()
    with pytest.raises(ConfigError, match="is no task"):
        t.add.s(1).then(len)
    with pytest.raises(ConfigError, match="plain values"):
        t.total.s([t.add.s(1).value, 2]).enqueue()
    assert not app.broker.inspector.counts()


def test_a_limit_holds_and_other_keys_go_on(app: Longboat) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    @app.task(limit=Limit(key="{customer}", running=2), name="bill")
    async def bill(customer: str) -> None:
        with lock:
            running[customer] += 1
            most[customer] = max(most[customer], running[customer])
        await asyncio.sleep(0.02)
        with lock:
            running[customer] -= 1

    jobs = bill.enqueue_many([("a",)] * 10 + [("b",)] * 4)
    jobs.append(bill.enqueue("a"))
    with app.worker():
        for job in jobs:
            job.result(10)
    assert most == Counter(a=2, b=2)


def test_a_rate_holds(app: Longboat) -> None:
    starts: list[float] = []

    @app.task(limit=Limit(rate="3/500ms"), name="call")
    async def call() -> None:
        starts.append(time.monotonic())

    jobs = [call.enqueue() for _ in range(7)]
    with app.worker():
        for job in jobs:
            job.result(10)
    assert all(starts[n + 3] - starts[n] > 0.4 for n in range(4)), starts


def test_turns_by_tenant(app: Longboat) -> None:
    done: list[str] = []

    @app.task(fair_by="{tenant}", name="work")
    async def work(tenant: str) -> None:
        done.append(tenant)

    work.enqueue_many([("big",)] * 50)
    small = work.enqueue("small")
    with app.worker(concurrency=1):
        small.result(10)
        assert done.index("small") <= 3


def test_unique_until_it_has_ended(app: Longboat) -> None:
    @app.task(unique=Unique(by="{user}"), name="report")
    async def report(user: str, detail: int = 0) -> int:
        return detail if user else -1

    first = report.enqueue("a", 1)
    again, other = report.enqueue("a", 2), report.enqueue("b", 3)
    assert (again.id, again.new, other.new) == (first.id, False, True)
    with app.worker():
        assert [first.result(10), again.result(10), other.result(10)] == [1, 1, 3]
        assert report.enqueue("a", 4).result(10) == 4


def test_debounce_and_throttle(app: Longboat) -> None:
    @app.task(unique=Unique(latest=True, until="started"), name="index")
    async def index(page: int) -> int:
        return page

    first = index.using(delay="1h").enqueue(1)
    second = index.using(delay="1ms").enqueue(1)
    assert second.new
    assert first.status() is State.CANCELLED

    @app.task(unique=Unique(until="300ms"), name="ping")
    async def ping() -> None: ...

    assert [ping.enqueue().new for _ in range(3)] == [True, False, False]
    with app.worker():
        ping.enqueue().result(10)
    time.sleep(0.31)
    assert ping.enqueue().new


def test_unique_calls_at_the_same_time_make_one_job(app: Longboat) -> None:
    @app.task(unique=Unique(), name="once")
    async def once(a: int) -> int:
        return a

    ids: set[str] = set()
    threads = [threading.Thread(target=lambda: ids.add(once.enqueue(7).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1
    assert app.broker.inspector.counts() == {("default", State.READY): 1}
    assert [job.new for job in once.enqueue_many([(1,), (2,), (1,)])] == [True, True, False]


def test_a_child_of_a_unique_task_counts_as_one_too(app: Longboat) -> None:
    @app.task(unique=Unique(), name="once")
    async def once(a: int) -> int:
        return a

    t = tasks(app)
    parent = t.add.s(1).then(t.add).enqueue()
    mine, other = parent.jobs()[0].id, once.enqueue(7)
    assert once.enqueue_child(mine, 7).id == other.id
    child = once.enqueue_child(mine, 8)
    assert child.new
    assert child.view().headers == {"parent": mine}
    assert [handle.id for handle in parent.jobs()][2:] == [child.id], "only what is stored joins the flow"


def test_a_task_known_by_name_alone_can_do_what_the_calling_side_needs(app: Longboat) -> None:
    report = app.named("report").using(unique=Unique(by="{user}"))
    assert report.enqueue(user="a", day=1).id == report.enqueue(user="a", day=2).id
    assert report.enqueue(user="b").new
    with pytest.raises(BadArguments, match="argument 'user'"):
        report.enqueue(user=object())
    flow = app.named("first").s(1).enqueue()
    assert [handle.task for handle in flow.jobs()] == ["first"]
    joined = app.named("join").s(left=app.named("left").s().value, right=2)
    assert [handle.task for handle in joined.enqueue().jobs()] == ["left", "join"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": Limit(key="{x}")}, "running= or rate="),
        ({"limit": Limit(key="{nobody}", running=1)}, "no parameter"),
        ({"limit": Limit(running=0)}, "lets nothing run"),
        ({"limit": Limit(rate="fast")}, "a number and a time"),
        ({"limit": "3/s"}, "Limit"),
        ({"fair_by": "{nobody}"}, "no parameter"),
        ({"unique": Unique(latest=True, until="5m")}, "latest"),
    ],
)
def test_bad_rules_are_refused_where_they_are_given(app: Longboat, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):

        @app.task(name="bad", **options)
        def bad(x: int) -> None: ...


def test_what_is_offered() -> None:
    assert {"Flow", "Limit", "Signature", "Unique", "chain", "chord", "group"} <= set(longboat.__all__)


def test_a_flow_with_more_bytes_than_can_be_stored_together_is_refused(app: Longboat) -> None:
    @app.task(name="length")
    async def length(data: bytes) -> int:
        return len(data)

    data = bytes(900_000)
    fits = TOGETHER // 900_100
    with pytest.raises(TooLarge, match=f"{fits + 1} jobs are to be stored together or not at all, and .* 32,000,000"):
        group(*[length.s(data) for _ in range(fits + 1)]).enqueue()
    assert app.broker.inspector.counts() == {}
    flow = group(*[length.s(data) for _ in range(fits)]).enqueue()
    assert flow.status().jobs == Counter({State.READY: fits})
