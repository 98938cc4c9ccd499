"""Coroutines that wait: registered together, beside the event loop, and forgotten when they give up."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.client.client import Client
from longboat.client.inbox import Inbox
from longboat.client.subscription import Subscription
from longboat.client.waiting import failed_parents
from longboat.contract.broker import Settlement
from longboat.contract.results import Listener
from longboat.core.constraints import Constraints
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_id
from longboat.core.views import JobView
from longboat.errors import AppClosed, BrokerUnavailable, JobCancelled, LongboatError, Unsupported
from longboat.tasks.handle import Handle
from tests.rigs.waiting import until


class Noted:
    """A listener that notes the calls, and may refuse some."""

    def __init__(
        self, listener: Listener, watched: list[Sequence[str]], refuse: Callable[[str], BaseException | None]
    ) -> None:
        self._listener = listener
        self._watched = watched
        self._refuse = refuse

    def watch(self, ids: Sequence[str]) -> None:
        self._watched.append(ids)
        for error in filter(None, map(self._refuse, ids)):
            raise error
        self._listener.watch(ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


class Kept(MemoryBroker):
    """Jobs in memory, put and ended by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: list[Sequence[str]] = []
        self.found: list[Sequence[str]] = []
        self.refuse: Callable[[str], BaseException | None] = lambda _: None
        listen, find = self.results.listen, self.inspector.find

        def noted_find(ids: Sequence[str]) -> list[JobView | None]:
            self.found.append(ids)
            return find(ids)

        setattr(self.results, "listen", lambda: Noted(listen(), self.watched, lambda each: self.refuse(each)))  # noqa: B010  # type checkers refuse an assignment
        setattr(self.inspector, "find", noted_find)  # noqa: B010  # as above

    def add(self, n: int, after: Sequence[str] = ()) -> list[str]:
        constraints = Constraints(after=list(after)) if after else None
        return self.put([Job(MESSAGE_VERSION, new_id(), "t", b"\x80", constraints=constraints) for _ in range(n)])

    def end(self, n: int) -> None:
        consumer = self.consumer(["default"], lease=60.0)
        assert consumer.settle([Settlement(lease, Done(b"\x2a")) for lease in consumer.receive(n, wait=0)]) == []
        consumer.close()


@pytest.fixture
def broker() -> Kept:
    return Kept()


@pytest.fixture
def client(broker: Kept) -> Iterator[Client]:
    made = Client(broker)
    yield made
    made.close()


def handles(client: Client, ids: Sequence[str]) -> list[Handle[Any]]:
    return [Handle(client, each, "t", keep=60.0) for each in ids]


def test_those_that_wait_at_once_are_registered_together(broker: Kept, client: Client) -> None:
    async def main() -> list[Any]:
        waiting = asyncio.gather(*handles(client, broker.add(300)))
        await asyncio.to_thread(until, lambda: sum(map(len, broker.watched)) == 300)
        broker.end(300)
        return await waiting

    assert asyncio.run(main()) == [42] * 300
    assert len(broker.watched) == 1


def test_who_gives_up_is_forgotten_and_takes_nothing_from_the_others(broker: Kept, client: Client) -> None:
    async def wait(handle: Handle[Any]) -> Any:
        return await handle

    async def main() -> Any:
        handle, other = handles(client, broker.add(2))
        leaves, stays, alone = (asyncio.create_task(wait(each)) for each in (handle, handle, other))
        await asyncio.to_thread(until, lambda: client._inbox._registered == {handle.id, other.id})
        leaves.cancel()
        alone.cancel()
        await asyncio.to_thread(until, lambda: client._inbox._registered == {handle.id})
        assert list(client._inbox._waiters) == [handle.id]
        broker.end(2)
        assert await stays == 42
        return await other

    assert asyncio.run(main()) == 42
    assert not client._inbox._waiters
    assert not client._inbox._registered
    assert not broker._store.watchers


def test_closing_tells_the_coroutines_that_wait(broker: Kept, client: Client) -> None:
    async def main() -> None:
        (handle,) = handles(client, broker.add(1))
        waiting = asyncio.ensure_future(asyncio.gather(handle))
        await asyncio.to_thread(until, lambda: client._inbox._registered)
        await asyncio.to_thread(client.close)
        with pytest.raises(AppClosed, match="while this call waited"):
            await waiting
        with pytest.raises(AppClosed, match="before this call waited"):
            await handles(client, [handle.id])[0]

    asyncio.run(main())


def test_each_loop_of_each_thread_hears_of_its_own(broker: Kept, client: Client) -> None:
    ids = broker.add(40)
    heard: list[list[Any]] = []

    async def main() -> list[Any]:
        return await asyncio.gather(*handles(client, ids))  # the same jobs in all of them

    threads = [threading.Thread(target=lambda: heard.append(asyncio.run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(client._inbox._waiters) == 40 and all(len(each) == 4 for each in client._inbox._waiters.values()))
    broker.end(40)
    for thread in threads:
        thread.join(10)
    assert heard == [[42] * 40] * 4
    asyncio.run(main())
    assert len(client._waits._loops) == 1, "closed loops are forgotten"


def test_only_who_waits_for_what_the_broker_refuses_is_told(broker: Kept, client: Client) -> None:
    good, bad = handles(client, broker.add(2))
    broker.refuse = lambda each: Unsupported("not here") if each == bad.id else None
    broker.end(2)

    async def main() -> list[Any]:
        return list(await asyncio.gather(good, bad, return_exceptions=True))

    value, error = asyncio.run(main())
    assert value == 42
    assert isinstance(error, Unsupported)
    assert bad.known is None
    with pytest.raises(Unsupported):
        bad.result()


def test_who_cannot_wait_now_can_wait_later(broker: Kept, client: Client) -> None:
    (handle,) = handles(client, broker.add(1))
    broker.end(1)
    broker.refuse = lambda _: BrokerUnavailable("away")

    async def main() -> Any:
        with pytest.raises(BrokerUnavailable):
            await handle
        broker.refuse = lambda _: None
        return await handle

    assert asyncio.run(main()) == 42


def test_who_may_wait_while_the_broker_is_away_is_not_held_up_by_it(broker: Kept) -> None:
    tries: list[str] = []
    answers = threading.Event()
    arrived = threading.Event()

    def away(job_id: str) -> Exception | None:
        answers.wait(10)
        tries.append(job_id)
        return BrokerUnavailable("away") if len(tries) == 1 else None

    broker.refuse = away
    inbox = Inbox(broker, patient=True)
    (job_id,) = broker.add(1)
    inbox.watch([job_id], Subscription({job_id: []}, lambda _: arrived.set(), lambda error: tries.append(str(error))))
    assert not tries
    answers.set()
    broker.end(1)
    assert arrived.wait(10)
    assert tries == [job_id] * 2
    inbox.close()


def test_what_another_thread_could_not_register_is_tried_again(broker: Kept) -> None:
    inbox = Inbox(broker, patient=True)
    inbox._register_soon()
    until(lambda: not inbox._kick.is_set())  # its thread has nothing to do
    errors: list[BaseException] = [BrokerUnavailable("away")]
    broker.refuse = lambda _: errors.pop() if errors else None
    (job_id,) = broker.add(1)
    broker.end(1)
    arrived = threading.Event()
    inbox.add([(job_id, Subscription({job_id: []}, lambda _: arrived.set(), lambda _: None))], soon=False)
    inbox._register_now()
    assert arrived.wait(10)
    assert len(broker.watched) == 2
    inbox.close()


def test_ctrl_c_while_the_broker_is_asked_leaves_nobody_waiting(broker: Kept, client: Client) -> None:
    handle, other = handles(client, broker.add(2))
    broker.end(2)
    arrived = threading.Event()
    beside = Subscription({other.id: [other]}, lambda _: arrived.set(), lambda _: None)
    client._inbox.add([(other.id, beside)], soon=False)
    errors: list[BaseException] = [KeyboardInterrupt()]
    broker.refuse = lambda _: errors.pop() if errors else None
    with pytest.raises(KeyboardInterrupt):
        client.subscribe([handle], lambda _: None)
    assert handle.id not in client._inbox._waiters
    assert arrived.wait(10)
    assert handle.result(10) == other.result(10) == 42
    until(lambda: not client._inbox._registered)


@pytest.mark.parametrize("name", ["longboat-inbox", "longboat-waits"])
def test_a_thread_that_the_system_refused_is_started_by_the_next_wait(
    name: str, broker: Kept, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (handle,) = handles(client, broker.add(1))
    broker.end(1)
    start, refused = threading.Thread.start, [name]

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name in refused:
            refused.remove(name)
            raise RuntimeError("can't start new thread")
        start(thread)

    async def main() -> Any:
        async with asyncio.timeout(10):
            with pytest.raises(RuntimeError, match="new thread"):
                await handle
            return await handle

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    assert asyncio.run(main()) == 42


def test_who_stops_watching_before_the_broker_has_answered_is_forgotten(broker: Kept, client: Client) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        asked.set()
        answer.wait(10)

    async def main() -> None:
        (handle,) = handles(client, broker.add(1))
        watching = asyncio.ensure_future(anext(handle.awatch()))
        await asyncio.to_thread(asked.wait, 10)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        answer.set()

    broker.refuse = slow
    asyncio.run(main())
    until(lambda: not client._inbox._waiters)


def test_parents_are_looked_for_once_for_all_that_wait(broker: Kept, client: Client) -> None:
    (parent,) = broker.add(1)
    ids = broker.add(400, after=broker.add(1, after=[parent]))
    broker.inspector.cancel([parent])

    async def main() -> list[Any]:
        return await asyncio.gather(*handles(client, ids), return_exceptions=True)

    errors = asyncio.run(main())
    assert {type(error) for error in errors} == {JobCancelled}
    assert parent in str(errors[0])
    assert len(broker.found) < 10


def test_the_failed_parent_is_found_however_the_jobs_depend(broker: Kept) -> None:
    first, second = broker.add(2)
    (early,) = broker.add(1, after=[first])
    (late,) = broker.add(1, after=[early, second])
    (free,) = broker.add(1, after=[second])
    broker.inspector.cancel([first])
    found = failed_parents(broker, [late, early, free, second])
    assert {below: view.id for below, view in found.items()} == {late: first, early: first}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_a_job_of_its_parent(tmp_path: Path) -> None:
    async def wait(handle: Handle[Any]) -> Any:
        async with asyncio.timeout(10):
            return await handle

    with Longboat(f"sqlite:///{tmp_path}/jobs.db") as app:
        first, second = app.send("double", 1), app.send("double", 2)

        async def give_up() -> None:
            waiting = asyncio.ensure_future(wait(first))
            await asyncio.to_thread(until, lambda: app.client._inbox._registered)
            waiting.cancel()

        asyncio.run(give_up())  # so that the parent has its threads, and its listener
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, repr([asyncio.run(wait(first)), second.result(10)]).encode())
            except LongboatError as error:
                os.write(write, repr(error).encode())
            finally:
                os._exit(0)
        app.task(name="double")(lambda number: 2 * number)
        with app.worker():
            os.waitpid(pid, 0)
        assert os.read(read, 200) == b"[2, 4]"
        assert first.result(10) == 2
