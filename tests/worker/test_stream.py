"""The stream across processes: who listens hears all, and nobody writes while nobody does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from longboat import Longboat
from longboat.observe import stream
from longboat.observe.events import (
    Event,
    EventsDropped,
    JobCancelled,
    JobDied,
    JobEnqueued,
    JobEvent,
    JobParked,
    JobProgressed,
    JobRetried,
    JobStarted,
    JobSucceeded,
    WorkerStarted,
    WorkerStopped,
)
from longboat.observe.stream import EVENTS, LISTENING, EventStream
from tests.apps import worker_tasks
from tests.rigs.waiting import until, within


class Ear:
    """Listens in a thread, through a connection of its own where the broker is shared by processes."""

    def __init__(self, app: Longboat) -> None:
        self.heard: list[Event] = []
        self._listening = app.events()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def kinds(self, job_id: str) -> list[type]:
        """In the order in which they happened: what two processes tell may arrive in another one."""
        heard = [event for event in list(self.heard) if isinstance(event, JobEvent) and event.id == job_id]
        return [type(event) for event in sorted(heard, key=lambda event: event.at)]

    def _run(self) -> None:
        for event in self._listening:
            self.heard.append(event)


def heard_from(ear: Ear, enqueue: Callable[[], Any]) -> None:
    """Enqueue until it is heard of: from then on worker and caller tell."""

    def both() -> bool:
        job = enqueue()
        job.result(10)
        return within(0.3, lambda: ear.kinds(job.id)[:1] == [JobEnqueued] and JobSucceeded in ear.kinds(job.id))

    until(both)


def test_a_job_is_followed_from_its_caller_to_its_end(app: Longboat, tasks: Any) -> None:
    with Ear(app) as ear, app.worker():
        heard_from(ear, lambda: tasks.add.enqueue(1, 2))
        failing, good = tasks.fail.enqueue("no 7"), tasks.thread.enqueue(1, 2)
        until(lambda: {JobEnqueued, JobDied} <= {*ear.kinds(failing.id)})
        until(lambda: {JobEnqueued, JobSucceeded} <= {*ear.kinds(good.id)})
        attempt = [JobStarted, JobRetried]
        assert ear.kinds(failing.id) == [JobEnqueued, *attempt, *attempt, JobStarted, JobDied]
        assert ear.kinds(good.id) == [JobEnqueued, JobStarted, JobSucceeded]
        died = next(event for event in ear.heard if isinstance(event, JobDied))
        assert (died.task, died.queue, died.attempt, died.failure.message) == ("fail", "default", 3, "no 7")
        assert not died.failure.traceback, "it is kept with the job"


def test_progress_cancelling_and_parking_are_heard(app: Longboat, tasks: Any) -> None:
    @app.task(name="talk")
    def talk() -> None:
        from longboat import current

        current().progress(3, 10, "three")
        worker_tasks.limit.wait(20)

    with Ear(app) as ear, app.worker():
        heard_from(ear, lambda: tasks.add.enqueue(1, 2))
        talking, held = talk.enqueue(), tasks.wait.enqueue()
        strange = app.send("nobody.knows")
        until(lambda: {JobEnqueued, JobStarted, JobProgressed} <= {*ear.kinds(talking.id)})
        until(lambda: JobStarted in ear.kinds(held.id))
        held.cancel()
        until(lambda: JobCancelled in ear.kinds(held.id) and JobParked in ear.kinds(strange.id))
        assert set(ear.kinds(talking.id)) == {JobEnqueued, JobStarted, JobProgressed}
        said = next(event for event in ear.heard if isinstance(event, JobProgressed))
        assert (said.done, said.total, said.text) == (3, 10, "three")
        worker_tasks.limit.set()


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_the_last_progress_is_heard_before_the_end(executor: Any, app: Longboat, tasks: Any) -> None:
    function = worker_tasks.count_async if executor == "async" else worker_tasks.count
    count = app.task(name="count", executor=executor)(function)
    with Ear(app) as ear, app.worker(processes=1):
        heard_from(ear, lambda: tasks.add.enqueue(1, 2))
        job = count.enqueue(5)
        until(lambda: JobSucceeded in ear.kinds(job.id))
        of_job = [event for event in ear.heard if isinstance(event, JobProgressed | JobSucceeded) and event.id == job.id]
        assert isinstance(of_job[-1], JobSucceeded)
        assert [event.done for event in of_job if isinstance(event, JobProgressed)][-1:] == [5]


def test_a_worker_is_heard_to_come_and_go(app: Longboat, tasks: Any) -> None:  # noqa: ARG001  # as its protocol has it
    with Ear(app) as ear:
        until(lambda: app.broker.kv.entries(LISTENING))
        with app.worker() as worker:
            until(lambda: worker.events.every_job)
        until(lambda: any(isinstance(event, WorkerStopped) for event in ear.heard))
        kinds = [type(event) for event in ear.heard]
        assert kinds.index(WorkerStarted) < kinds.index(WorkerStopped)


def test_nothing_is_written_while_nobody_listens(app: Longboat, tasks: Any) -> None:
    with app.worker() as worker:
        assert tasks.add.enqueue(1, 2).result(10) == 3
        time.sleep(4 * stream.LOOK)
        assert not worker.events.every_job
        assert not app.broker.kv.entries(EVENTS)
        with Ear(app) as ear:
            heard_from(ear, lambda: tasks.add.enqueue(1, 2))
        until(lambda: not worker.events.publisher.open)
        before = len(app.broker.kv.entries(EVENTS))
        assert tasks.add.enqueue(1, 2).result(10) == 3
        time.sleep(4 * stream.LOOK)
        assert len(app.broker.kv.entries(EVENTS)) == before
        assert not worker.events.every_job


def test_events_can_be_awaited(app: Longboat, tasks: Any) -> None:
    async def follow() -> None:
        heard: set[str] = set()

        async def listen(events: EventStream) -> None:
            async for event in events:
                if isinstance(event, JobSucceeded):
                    heard.add(event.id)

        async with app.events() as events, app.worker():
            listening = asyncio.create_task(listen(events))
            async with asyncio.timeout(15):
                job = await tasks.add.aenqueue(1, 2)
                while job.id not in heard:
                    job = await tasks.add.aenqueue(1, 2)
                    assert await job == 3
                    await asyncio.sleep(4 * stream.POLL)
            events.close()
            await asyncio.wait_for(listening, 5)

    asyncio.run(follow())


def test_a_fast_worker_tells_a_part_and_how_many_it_left_out() -> None:
    with Longboat("memory://") as app:
        tasks = worker_tasks.declare(app)
        with app.worker() as worker, Ear(app) as ear:
            until(lambda: worker.events.every_job)
            jobs = tasks.add.enqueue_many([(1, 2)] * 5000)
            for job in jobs:
                job.result(20)
            until(lambda: any(isinstance(event, EventsDropped) and event.worker == worker.name for event in ear.heard))
            until(lambda: any(isinstance(event, JobSucceeded) for event in ear.heard))
            assert sum(isinstance(event, JobSucceeded) for event in ear.heard) < 5000


def test_a_listener_that_changes_what_it_hears_changes_no_job() -> None:
    with Longboat("memory://") as app:
        tasks = worker_tasks.declare(app)
        heard = threading.Event()

        def tampers(event: Event) -> None:
            if isinstance(event, JobDied):
                event.failure.message = "mine"
                with pytest.raises(AttributeError):
                    event.attempt = 7  # type: ignore[misc]  # frozen on purpose
                heard.set()

        app.bus.listen(tampers)
        with app.worker():
            job = tasks.picky.enqueue("as it was")
            assert heard.wait(10)
            until(lambda: job.status() == "dead")
        assert [each.message for each in job.view().failures] == ["as it was"]


def test_a_job_that_was_known_is_not_told_to_have_been_enqueued_again() -> None:
    with Longboat("memory://") as app:
        tasks = worker_tasks.declare(app)
        with Ear(app) as ear:
            until(lambda: app.broker.kv.entries(LISTENING))
            for _ in range(2):
                tasks.add.using(id="mine").enqueue(1, 2)
            other = tasks.add.enqueue(1, 2)
            until(lambda: ear.kinds(other.id) == [JobEnqueued])
            assert ear.kinds("mine") == [JobEnqueued]
        assert app.client.enqueue_events.counts == {("default", "add"): 2}
