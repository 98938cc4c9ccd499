"""How a worker's lines look, as text and as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

import msgspec
import pytest

from longboat import Failure, Longboat, gather
from longboat.observe import events
from longboat.observe.logs import JsonFormatter, TextFormatter, listener, worded
from longboat.worker.successes import FEW
from tests.rigs.waiting import until

FAILURE = Failure("ValueError", "no", "Traceback…", 2, 1.0, "w")
ABOUT = "w", "id-1", "mail.send", "q"
EVERY: list[tuple[events.Event, int, str]] = [
    (events.JobEnqueued(*ABOUT), logging.DEBUG, "enqueued in queue q"),
    (events.JobStarted(*ABOUT, 2), logging.DEBUG, "attempt 2 started"),
    (events.JobProgressed(*ABOUT, 3, 10, "rows"), logging.DEBUG, "is at 3 of 10  rows"),
    (events.JobSucceeded(*ABOUT, 1, 0.25), logging.DEBUG, "succeeded in 0.250 s"),
    (events.JobRetried(*ABOUT, 2, FAILURE, 1.5), logging.WARNING, "ValueError: no; next attempt in 1.5 s"),
    (events.JobDied(*ABOUT, 2, FAILURE), logging.ERROR, "ValueError: no; the job is dead\n  Traceback…"),
    (events.JobCancelled(*ABOUT, "asked for"), logging.INFO, "was cancelled: asked for"),
    (events.JobParked(*ABOUT), logging.DEBUG, "is not a task of this worker"),
    (events.JobsParked("w", "m.t", 2, ["a.b"]), logging.WARNING, "2 jobs of m.t cannot run here"),
    (events.JobsParked("w", "m.t", 1, [], elsewhere=True), logging.WARNING, "1 job of m.t cannot run on worker w"),
    (events.JobsLost("w", 0), logging.ERROR, "the leases were lost while no job ran"),
    (events.JobsLost("w", 1), logging.ERROR, "the leases of 1 job were lost"),
    (events.JobsLost("w", 3), logging.ERROR, "the leases of 3 jobs were lost"),
    (events.WorkerStarted("w", "memory://", ["a"], 2), logging.INFO, "serves a of memory://, tasks known: 2"),
    (events.WorkerStopping("w", 2, 25.0), logging.INFO, "running jobs have 25 s to finish: 2"),
    (events.WorkerStopped("w", 1234), logging.INFO, "stopped after 1,234 jobs"),
    (events.BrokerDown("w", "refused"), logging.ERROR, "the broker fails: refused"),
    (events.BrokerUp("w", 2.0), logging.INFO, "answers again after 2.0 s"),
    (events.EventsDropped("w", 5000), logging.INFO, "5,000 more events"),
]


@pytest.mark.parametrize(("event", "level", "text"), EVERY, ids=lambda value: getattr(value, "__class__", type).__name__)
def test_each_event_is_worded(event: events.Event, level: int, text: str) -> None:
    said = worded(event)
    assert said[0] == level
    assert text in said[1]


def test_every_kind_is_in_the_list_and_travels() -> None:
    assert {type(event) for event, _, _ in EVERY} == set(events.AnyEvent.__args__)
    for event, _, _ in EVERY:
        back = msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=events.AnyEvent)
        assert events.plain(back) == events.plain(event)
        assert next(iter(events.plain(event))) == "kind"


def test_the_time_of_a_line_has_a_zone() -> None:
    record = logging.LogRecord("longboat.worker", logging.INFO, "", 1, "text", None, None)
    at = " ".join(TextFormatter().format(record).split()[:2])
    assert datetime.fromisoformat(at).timestamp() == pytest.approx(record.created, abs=0.001)
    assert datetime.fromisoformat(at).tzinfo is not None


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_json_holds_the_event(caplog: pytest.LogCaptureFixture) -> None:
    listener(events.JobDied(*ABOUT, 2, FAILURE))
    said = formatted(caplog.records[-1])
    assert (said["level"], said["logger"]) == ("ERROR", "longboat.worker")
    assert said["event"]["kind"] == "job.died"
    assert said["event"]["failure"]["type"] == "ValueError"
    assert said["at"].endswith("+00:00")


def test_a_line_of_json_holds_tracebacks_and_whatever_is_said(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("some.where")
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("it %s\nbadly", "failed")
    said = formatted(caplog.records[-1])
    assert said["text"] == "it failed\nbadly"
    assert "KeyError: 'x'" in said["traceback"]
    loop: list[Any] = []
    loop.append(loop)
    log.error("much", extra={"big": 2**70, "loop": loop, "kind": dict, "at": {1: (2.5, None)}, "lone": "\ud800"})
    more = {"big": 2**70, "loop": "<list>", "kind": "<class 'dict'>", "at": {"1": [2.5, None]}, "lone": "'\\ud800'"}
    assert formatted(caplog.records[-1])["extra"] == more
    lone = logging.LogRecord("some.where", logging.ERROR, "", 1, "a lone \ud800 surrogate", None, None)
    assert "surrogate" in formatted(lone)["text"]


@pytest.mark.usefixtures("brisk")
def test_successes_have_a_line_each_while_they_are_few(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "longboat.worker")
    with Longboat("memory://") as app:

        @app.task
        def double(n: int) -> int:
            return 2 * n

        worker = app.worker()
        worker.report_successes()
        with worker:
            few = double.enqueue_many([(n,) for n in range(3)])
            assert gather(*few).result(timeout=10) == [0, 2, 4]
            until(lambda: all(f"[{each.id}] succeeded in" in caplog.text for each in few))
            assert gather(*double.enqueue_many([(n,) for n in range(500)])).result(timeout=10)
        with app.worker():
            assert double.enqueue(1).result(timeout=10) == 2
    said = [record.getMessage() for record in caplog.records]
    assert sum("succeeded in" in text for text in said) <= 2 * FEW
    assert [text for text in said if "jobs succeeded" in text] == [f"503 jobs succeeded: 503 of {double.name}"]
