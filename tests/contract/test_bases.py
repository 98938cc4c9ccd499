"""The skeletons that brokers are made of, with the smallest adapter there can be."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

from longboat.contract.base import BaseConsumer, BaseListener
from longboat.contract.base_forks import remake_after_fork
from longboat.contract.base_kv import check_entries
from longboat.contract.base_pages import LOOKED_AT, batches, cursor_of, page_of, position_of, window
from longboat.contract.broker import Lease
from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.core.job import MESSAGE_VERSION, Job, Result, State
from longboat.core.views import JobView, job_view
from longboat.errors import BrokerUnavailable, ConfigError, TooLarge


class Consumer(BaseConsumer):
    def __init__(self) -> None:
        super().__init__("c")
        self.ready: list[Lease] = []
        self.rung = threading.Event()
        self.waits = self.ended = 0
        self.alive = True

    def cancel(self) -> None:
        self._cancelled += 1

    def _claim(self, n: int, until: float) -> list[Lease]:  # noqa: ARG002  # as its protocol has it
        taken, self.ready = self.ready[:n], self.ready[n:]
        return taken

    def _wait(self, until: float) -> None:  # noqa: ARG002  # as its protocol has it
        self.waits += 1
        self.rung.wait(5)
        self.rung.clear()

    def _beat(self) -> Sequence[str] | None:
        self._told = self._cancelled
        return ["x"] if self.alive else None

    def _ring(self) -> None:
        self.rung.set()

    def _end(self) -> None:
        self.ended += 1


class Listener(BaseListener):
    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[str, Result] = {}
        self.rung = threading.Event()
        self.error: Exception | None = None

    def _look(self, fresh: Collection[str]) -> Iterable[Result]:
        if self.error is not None:
            raise self.error
        return [self.ended[each] for each in fresh if each in self.ended]

    def _wait(self, until: float) -> None:  # noqa: ARG002  # as its protocol has it
        self.rung.wait(5)
        self.rung.clear()

    def _ring(self) -> None:
        self.rung.set()

    def _end(self) -> None:
        pass


def lease() -> Lease:
    return Lease(Job(MESSAGE_VERSION, "1", "t", b"\x80"), 1, 1)


def result(id: str) -> Result:
    return Result(id, State.SUCCEEDED, b"\xc0")


def test_a_receive_claims_again_after_a_ring() -> None:
    consumer, found = Consumer(), list[Lease]()
    thread = threading.Thread(target=lambda: found.extend(consumer.receive(5, wait=30)))
    thread.start()
    consumer.ready.append(lease())
    consumer.rung.set()
    thread.join(5)
    assert len(found) == 1


def test_a_wake_ends_one_receive_and_no_second_one() -> None:
    consumer = Consumer()
    consumer.wake()
    assert consumer.receive(1, wait=30) == []
    assert consumer.waits == 0
    consumer.rung.clear()
    assert consumer.receive(1, wait=0) == []
    consumer.ready.append(lease())
    assert len(consumer.receive(1, wait=30)) == 1


def test_a_cancellation_ends_one_receive_until_it_is_told() -> None:
    consumer = Consumer()
    consumer.cancel()
    assert consumer.receive(1, wait=30) == []
    assert consumer.waits == 0
    consumer.cancel()
    assert list(consumer.extend().cancelled) == ["x"]
    consumer.rung.set()
    consumer.ready.append(lease())
    assert len(consumer.receive(1, wait=30)) == 1


def test_a_lost_consumer_receives_nothing_and_does_not_spin() -> None:
    consumer = Consumer()
    consumer.alive = False
    assert not consumer.extend().alive
    consumer.alive = True
    assert not consumer.extend().alive
    consumer.ready.append(lease())
    assert consumer.receive(1, wait=0.01) == []


def test_closing_twice_ends_once() -> None:
    consumer = Consumer()
    for _ in range(2):
        consumer.close()
    assert consumer.ended == 1
    assert consumer.receive(1, wait=30) == []


def test_a_listener_tells_each_result_once_and_no_other() -> None:
    listener = Listener()
    listener.watch(["a", "b"])
    listener.ended = {name: result(name) for name in "abc"}
    listener.forget(["b"])
    assert [each.id for each in listener.wait(0)] == ["a"]
    listener.wake()
    assert listener.wait(30) == []


def test_what_was_newly_watched_is_looked_at_again_after_an_error() -> None:
    listener = Listener()
    listener.watch(["a"])
    listener.ended = {"a": result("a")}
    listener.error = BrokerUnavailable("gone")
    with pytest.raises(BrokerUnavailable):
        listener.wait(0)
    listener.error = None
    assert [each.id for each in listener.wait(0)] == ["a"]


def test_what_is_watched_during_a_look_is_looked_at_before_any_wait() -> None:
    """The look may have taken its ring for one from before."""

    class Interrupted(Listener):
        def _look(self, fresh: Collection[str]) -> Iterable[Result]:
            if not fresh:
                self.watch(["1"])
                self.rung.clear()
            return super()._look(fresh)

        def _wait(self, until: float) -> None:
            raise AssertionError(f"waited until {until} with a result there")

    listener = Interrupted()
    listener.ended["1"] = result("1")
    assert listener.wait(30) == [result("1")]


def test_a_closed_listener_waits_no_longer() -> None:
    listener = Listener()
    thread = threading.Thread(target=listener.wait, args=(30,))
    thread.start()
    listener.close()
    thread.join(5)
    assert not thread.is_alive()


def views(n: int, task: str = "t") -> list[JobView]:
    return [JobView(str(i), State.READY, "q", task, 0, 0, b"") for i in range(n)]


def pages(rows: Sequence[JobView], limit: int, task: str | None) -> list[list[str]]:
    """All pages of these rows."""
    found, start = [], 0
    while True:
        read = rows[start : start + window(limit, task) + 1]
        page = page_of(read, limit, task, lambda row: row, lambda row: cursor_of(int(row.id)))
        found.append([view.id for view in page.jobs])
        if page.after is None:
            return found
        start = int((position_of(page.after, int) or [0])[0]) + 1


def test_pages_end_where_the_next_one_begins() -> None:
    assert pages(views(5), 2, None) == [["0", "1"], ["2", "3"], ["4"]]
    assert pages(views(4), 2, None) == [["0", "1"], ["2", "3"]]
    assert pages([], 2, None) == [[]]


def test_a_page_of_one_task_looks_at_a_bounded_number_of_rows() -> None:
    rows = views(LOOKED_AT + 1)
    rows[1].task = rows[-1].task = "other"
    assert pages(rows, 2, "other") == [["1"], [str(LOOKED_AT)]]


def test_rows_that_have_left_the_state_are_left_out() -> None:
    page = page_of([1, 2, 3], 2, None, lambda row: None if row == 1 else views(1)[0], str)
    assert (len(page.jobs), page.after) == (1, "2")


@pytest.mark.parametrize("after", ["", "?", "[]", "[1]", '["a", "b"]', "[1, 2, 3]", '{"a": 1}', "[1, null]"])
def test_what_is_no_cursor_is_refused(after: str) -> None:
    with pytest.raises(ConfigError, match="is not the `after`"):
        position_of(after, int, str)


def test_a_cursor_comes_back_as_it_was() -> None:
    assert position_of(cursor_of(1, "x\0ü", 2.5), int, str, float) == [1, "x\0ü", 2.5]
    assert position_of(None, int) is None


def test_batches_hold_everything_in_order() -> None:
    assert [list(part) for part in batches([1, 2, 3, 4, 5], 2)] == [[1, 2], [3, 4], [5]]


def test_an_undecodable_job_is_shown_with_its_message() -> None:
    facts: dict[str, Any] = {"id": "1", "state": State.DEAD, "queue": "q", "attempts": 0, "failures": []}
    view = job_view(None, b"?", priority=3, **facts)
    assert (view.task, view.payload, view.priority, view.enqueued) == ("", b"?", 3, None)


def test_entries_over_the_limit_are_refused() -> None:
    check_entries("n", [Entry("k", bytes(ENTRY_LIMIT)), Entry("gone", None)])
    with pytest.raises(TooLarge, match="'k' of 'n' has 1,000,001 bytes"):
        check_entries("n", [Entry("k", bytes(ENTRY_LIMIT + 1))])


class Remade:
    forked = 0

    def after_fork(self) -> None:
        self.forked += 1


def test_what_is_remade_is_told_in_the_child_alone() -> None:
    thing = Remade()
    remake_after_fork(thing)
    pid = os.fork()
    if pid == 0:
        os._exit(thing.forked)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert thing.forked == 0
