"""Every promise of executor.py, held against all three executors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from longboat.core import codec
from longboat.core.job import Failure
from longboat.core.reasons import CANCELLED
from longboat.executors.contract import BAD_PAYLOAD, BAD_RESULT, TIMEOUT, CallEnd
from longboat.tasks.task import ExecutorName
from tests.apps import executor_tasks as tasks
from tests.rigs.executor import KINDS, Rig, rigged, until


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> ExecutorName:
    return cast(ExecutorName, request.param)


@pytest.fixture
def rig(kind: ExecutorName) -> Iterator[Rig]:
    with rigged(kind) as rig:
        yield rig


@pytest.fixture
def single(kind: ExecutorName) -> Iterator[Rig]:
    """One slot only."""
    with rigged(kind, slots=1) as rig:
        yield rig


def test_where_a_call_is_is_told_while_it_runs(rig: Rig, tmp_path: Path) -> None:
    release = tmp_path / "release"
    call = rig.begin(tasks.hold, tmp_path / "begun", str(release))
    for _ in range(2):
        first, *rest = rig.executor.stack(call).splitlines()
        assert first.strip().startswith(f'File "{tasks.__file__}", line ')
        assert first.endswith("hold")
        assert all(line.startswith("  ") for line in rest)
    release.touch()
    assert rig.result(call) == "released"
    assert rig.executor.stack(call) == ""


def failure_of(rig: Rig, *call: object) -> Failure:
    reply = rig.run(*call)  # type: ignore[arg-type]  # of several types
    assert reply.ending is CallEnd.RAISED
    assert reply.failure is not None
    assert codec.decode_failures(codec.encode_failures([reply.failure])) == [reply.failure]
    assert len(reply.failure.message) < 40_000
    assert len(reply.failure.traceback) < 40_000
    return reply.failure


# --- running


def test_each_call_replies_once_with_its_result(rig: Rig) -> None:
    calls = [rig.call(tasks.add, n, 1) for n in range(1000)]
    rig.executor.submit(calls[:300])
    for call in calls[300:]:
        rig.executor.submit([call])
    rig.wait(1000)
    assert [rig.result(call) for call in calls[::100]] == list(range(1, 1001, 100))
    assert len(rig.replies) == 1000
    assert all(reply.ending is CallEnd.RETURNED and reply.failure is None for _, reply in rig.replies)


def test_calls_start_in_order(single: Rig, tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    single.executor.submit([single.call(tasks.log, path, str(n)) for n in range(200)])
    single.wait(200)
    assert Path(path).read_text().split() == [str(n) for n in range(200)]


def test_no_more_calls_run_at_once_than_there_are_slots(rig: Rig) -> None:
    calls = [rig.call(tasks.span, 0.01) for _ in range(20)]
    rig.executor.submit(calls)
    edges = [edge for call in calls for edge in zip(rig.result(call), (1, -1), strict=True)]
    level = [sum(change for _, change in sorted(edges)[: n + 1]) for n in range(len(edges))]
    assert max(level) == 2


def test_free_counts_what_has_not_replied(rig: Rig, tmp_path: Path) -> None:
    assert rig.executor.free() == rig.executor.slots == 2
    release = tmp_path / "release"
    rig.begin(tasks.hold, tmp_path / "begun", str(release))
    assert rig.executor.free() == 1
    rig.executor.submit([rig.call(tasks.hold, str(tmp_path / "other"), str(release)) for _ in range(4)])
    assert rig.executor.free() == -3
    release.touch()
    rig.wait(5)
    until(lambda: rig.executor.free() == 2)


def test_started_is_told_when_the_function_begins(single: Rig, tmp_path: Path) -> None:
    before = time.monotonic()
    first = single.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
    second = single.submit(tasks.add, 1, 2)
    assert before < first.started <= time.monotonic()
    assert second.started == 0.0
    (tmp_path / "release").touch()
    single.reply(second)
    assert second.started >= first.started


def test_the_function_knows_its_job(rig: Rig) -> None:
    call = rig.submit(tasks.who)
    assert rig.result(call) == [call.lease.job.id, "who", 3]


def test_each_call_has_a_context_of_its_own(single: Rig) -> None:
    calls = [single.call(tasks.colour, "red") for _ in range(20)]
    single.executor.submit(calls)
    assert {single.result(call) for call in calls} == {"none"}


# --- failing


def test_a_failure_is_worded_for_its_reader(rig: Rig) -> None:
    said = failure_of(rig, tasks.fail, "the reason")
    assert (said.type, said.message) == ("ValueError", "the reason")
    assert said.traceback.startswith("Traceback")
    assert "in fail" in said.traceback or "in a_fail" in said.traceback
    assert "executors" not in said.traceback.replace("tests/executors", "")
    assert "KeyError: 'first'" in failure_of(rig, tasks.blow, "chain").traceback


@pytest.mark.parametrize(
    ("what", "type"),
    [
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("generator", "GeneratorExit"),
        ("recursion", "RecursionError"),
        ("memory", "MemoryError"),
        ("unprintable", "tests.apps.executor_tasks.Unprintable"),
        ("surrogate", "ValueError"),
    ],
)
def test_whatever_is_raised_is_that_attempts_failure(rig: Rig, what: str, type: str) -> None:
    assert failure_of(rig, tasks.blow, what).type == type
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3


def test_a_long_message_is_cut(rig: Rig) -> None:
    said = failure_of(rig, tasks.fail, "first" + "x" * 200_000 + "last")
    assert said.message.startswith("first")
    assert said.message.endswith("last")
    assert said.traceback.rstrip().endswith("last")


def test_retry_on_decides_whether_another_attempt_is_of_use(rig: Rig) -> None:
    assert rig.run(rig.task(tasks.fail), "x").again
    assert rig.run(rig.task(tasks.fail, retry_on=(KeyError, LookupError, ValueError)), "x").again
    assert not rig.run(rig.task(tasks.fail, retry_on=(KeyError,)), "x").again
    assert rig.run(rig.task(tasks.blow, retry_on=(tasks.Unprintable,)), "unprintable").again


@pytest.mark.parametrize(
    ("what", "kinds", "again"),
    [
        ("lost", (ConnectionError,), True),
        ("lost", (ExceptionGroup,), True),
        ("mixed", (ConnectionError,), False),
        ("mixed", (ConnectionError, KeyError), True),
        ("mixed", (Exception,), True),
        ("half", (Exception,), True),
        ("half", (ValueError,), False),
        ("leaving", (Exception,), False),
        ("cancelled", (Exception,), True),
        ("cancelled", (ConnectionError,), False),
        ("cancelled", (asyncio.CancelledError,), True),
        ("exit", (Exception,), False),
    ],
)
def test_a_group_is_retried_if_each_leaf_is_and_a_cancelled_await_as_an_exception(
    rig: Rig, what: str, kinds: tuple[type[BaseException], ...], again: bool
) -> None:
    assert rig.run(rig.task(tasks.blow, retry_on=kinds), what).again is again


@pytest.mark.parametrize(
    ("payload", "may_fit"),
    [
        (b"\xc1", False),
        (codec.encode([]), False),
        (codec.encode({"a": 1}), True),
        (codec.encode({"a": 1, "b": "two"}), False),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(rig: Rig, payload: bytes, may_fit: bool) -> None:
    """If it is for other parameters, another version of the task may take it."""
    call = rig.call(tasks.add, payload=payload)
    rig.executor.submit([call])
    reply = rig.reply(call)
    assert reply.ending is CallEnd.REFUSED
    assert reply.failure is not None
    assert reply.failure.type == BAD_PAYLOAD
    assert reply.failure.message
    assert reply.again is may_fit
    assert call.started == 0.0


@pytest.mark.parametrize(("what", "text"), [("object", "type object"), ("big", "1,000,000"), ("surrogate", "surrogate")])
def test_a_result_that_cannot_be_stored_is_that_attempts_failure(rig: Rig, what: str, text: str) -> None:
    said = failure_of(rig, tasks.give, what)
    assert said.type == BAD_RESULT
    assert "'give'" in said.message
    assert text in said.message
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3


# --- stopping


@pytest.mark.parametrize(("why", "type"), [(CallEnd.TIMEOUT, TIMEOUT), (CallEnd.CANCELLED, CANCELLED)])
def test_a_running_call_that_is_stopped_ends_with_the_reason(rig: Rig, tmp_path: Path, why: CallEnd, type: str) -> None:
    task = rig.task(tasks.hold, timeout=1.5, retry_on=())
    call = rig.begin(task, tmp_path / "begun", str(tmp_path / "never"))
    rig.executor.stop(call, why)
    reply = rig.reply(call)
    assert reply.ending is call.stopping is why
    assert reply.again
    assert reply.failure is not None
    assert reply.failure.type == type
    assert "hold" in reply.failure.traceback
    assert reply.failure.traceback.splitlines()[-1] == f"{type}: {reply.failure.message}"
    assert ("timeout of 1.5 s" in reply.failure.message) == (why is CallEnd.TIMEOUT)


def test_a_result_counts_though_the_call_was_stopped(rig: Rig, tmp_path: Path) -> None:
    call = rig.begin(tasks.polite, tmp_path / "begun")
    rig.executor.stop(call, CallEnd.TIMEOUT)
    assert rig.reply(call).ending is CallEnd.RETURNED
    assert rig.result(call) == "returned all the same"


def test_what_a_stopped_call_raises_is_told_with_the_reason(rig: Rig, tmp_path: Path) -> None:
    call = rig.begin(tasks.clumsy, tmp_path / "begun")
    rig.executor.stop(call, CallEnd.CANCELLED)
    reply = rig.reply(call)
    assert reply.ending is CallEnd.CANCELLED
    assert reply.failure is not None
    assert "KeyError: 'while cleaning up'" in reply.failure.message
    assert "clumsy" in reply.failure.traceback


@pytest.mark.parametrize("hard", [False, True])
def test_a_waiting_call_that_is_stopped_ends_at_once_and_never_runs(single: Rig, tmp_path: Path, hard: bool) -> None:
    first = single.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
    waiting = [single.submit(tasks.log, str(tmp_path / "log"), str(n)) for n in range(3)]
    single.executor.stop(waiting[1], CallEnd.TIMEOUT)
    if hard:
        single.executor.kill(waiting[1])
    reply = single.reply(waiting[1])
    assert reply.ending is CallEnd.TIMEOUT
    assert reply.failure is not None
    assert waiting[1].started == 0.0
    (tmp_path / "release").touch()
    assert [single.reply(call).ending for call in (first, waiting[0], waiting[2])] == [CallEnd.RETURNED] * 3
    assert (tmp_path / "log").read_text().split() == ["0", "2"]


def test_a_call_that_does_not_stop_is_killed_and_its_slot_is_of_use_again(single: Rig, tmp_path: Path) -> None:
    begun, release = tmp_path / "begun", tmp_path / "release"
    call = single.begin(tasks.stubborn, begun, str(release))
    after = single.submit(tasks.add, 1, 2)
    single.executor.stop(call, CallEnd.TIMEOUT)
    if single.kind != "thread":
        until(Path(f"{begun}.told").exists)
    single.executor.kill(call)
    reply = single.reply(call, 2)
    assert reply.ending is CallEnd.TIMEOUT
    assert reply.failure is not None
    assert reply.failure.type == TIMEOUT
    assert "asked to" in reply.failure.message or "cancelled" in reply.failure.message
    assert single.result(after) == 3
    assert bool(single.executor.worn) == (single.kind != "process")
    release.touch()
    assert single.result(single.submit(tasks.add, 3, 4)) == 7
    assert len([one for one, _ in single.replies if one is call]) == 1


def test_a_kill_without_a_stop_is_a_cancellation(single: Rig, tmp_path: Path) -> None:
    call = single.begin(tasks.stubborn, tmp_path / "begun", str(tmp_path / "release"))
    single.executor.kill(call)
    assert single.reply(call).ending is CallEnd.CANCELLED
    (tmp_path / "release").touch()


def test_stop_and_kill_of_what_has_ended_do_nothing(rig: Rig) -> None:
    call = rig.submit(tasks.add, 1, 2)
    assert rig.result(call) == 3
    rig.executor.stop(call, CallEnd.TIMEOUT)
    rig.executor.kill(call)
    rig.executor.stop(rig.call(tasks.add, 1, 2), CallEnd.TIMEOUT)  # one that was never submitted
    assert [rig.result(rig.submit(tasks.add, n, 1)) for n in range(5)] == [1, 2, 3, 4, 5]
    assert len(rig.replies) == 6
    assert not rig.executor.worn


def test_stops_at_any_moment_hurt_nobody_else(rig: Rig) -> None:
    for _ in range(20):
        calls = [rig.call(tasks.span, 0.0) for _ in range(50)]
        rig.executor.submit(calls)
        for call in calls[::3]:
            rig.executor.stop(call, CallEnd.CANCELLED)
        for place, call in enumerate(calls):
            ending = rig.reply(call).ending
            assert ending is CallEnd.RETURNED or (place % 3 == 0 and ending is CallEnd.CANCELLED), (place, rig.reply(call))


# --- closing


def test_close_hands_back_what_waits_and_lets_the_rest_end(kind: ExecutorName, tmp_path: Path) -> None:
    with rigged(kind, slots=1) as rig:
        first = rig.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
        waiting = [rig.call(tasks.log, str(tmp_path / "log"), "x") for _ in range(50)]
        rig.executor.submit(waiting)
        closing = threading.Thread(target=rig.executor.close, args=(60,))
        closing.start()
        assert {rig.reply(call).ending for call in waiting} == {CallEnd.UNSTARTED}
        assert all(rig.reply(call).failure is None for call in waiting)
        late = rig.submit(tasks.add, 1, 2)
        assert rig.reply(late).ending is CallEnd.UNSTARTED
        assert closing.is_alive()
        (tmp_path / "release").touch()
        assert rig.reply(first).ending is CallEnd.RETURNED
        closing.join(10)
        assert not closing.is_alive()
        assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("fn", [tasks.hold, tasks.stubborn])
def test_what_outlives_the_grace_is_handed_back(kind: ExecutorName, tmp_path: Path, fn: object) -> None:
    with rigged(kind) as rig:
        call = rig.begin(fn, tmp_path / "begun", str(tmp_path / "release"))  # type: ignore[arg-type]  # of several types
        before = time.monotonic()
        rig.executor.close(0.2)
        assert 0.2 <= time.monotonic() - before < 2.5
        assert [one for one, _ in rig.replies] == [call]
        assert rig.reply(call).ending is CallEnd.UNSTARTED
        assert rig.reply(call).failure is None
        (tmp_path / "release").touch()


def test_a_second_close_shortens_the_first(kind: ExecutorName, tmp_path: Path) -> None:
    with rigged(kind) as rig:
        call = rig.begin(tasks.stubborn, tmp_path / "begun", str(tmp_path / "release"))
        closing = threading.Thread(target=rig.executor.close, args=(600,))
        closing.start()
        until(lambda: rig.reply(rig.submit(tasks.add, 1, 2)).ending is CallEnd.UNSTARTED)
        rig.executor.close(0.1)
        closing.join(5)
        assert not closing.is_alive()
        assert rig.reply(call).ending is CallEnd.UNSTARTED
        (tmp_path / "release").touch()


def test_a_call_that_was_stopped_keeps_that_reason_when_close_kills_it(kind: ExecutorName, tmp_path: Path) -> None:
    with rigged(kind) as rig:
        call = rig.begin(tasks.stubborn, tmp_path / "begun", str(tmp_path / "release"))
        rig.executor.stop(call, CallEnd.CANCELLED)
        rig.executor.close(0)
        assert rig.reply(call).ending is CallEnd.CANCELLED
        (tmp_path / "release").touch()


def test_closing_unused_and_twice_is_harmless(kind: ExecutorName) -> None:
    with rigged(kind) as rig:
        rig.executor.close(5)
        rig.executor.close(0)
        assert rig.run(tasks.add, 1, 2).ending is CallEnd.UNSTARTED


def test_close_leaves_no_thread_behind(kind: ExecutorName) -> None:
    before = set(threading.enumerate())
    with rigged(kind) as rig:
        rig.executor.submit([rig.call(tasks.add, n, 1) for n in range(10)])
        rig.wait(10)
    assert set(threading.enumerate()) <= before
