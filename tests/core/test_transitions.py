"""What becomes of a job once an attempt was settled: the table of core/transitions.py, and every broker held to it.

A broker that decides this elsewhere, as the Redis scripts do, mirrors the table: the same cases are played on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from longboat.contract.broker import Broker, Settlement
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import (
    MESSAGE_VERSION,
    Cancelled,
    Dead,
    Done,
    Failure,
    Job,
    Outcome,
    Park,
    Release,
    Retry,
    State,
    new_id,
)
from longboat.core.transitions import Transition, after
from longboat.core.views import JobView
from tests.rigs.harnesses import ADAPTERS, unavailable

BOOM = Failure("builtins.ValueError", "it went boom", attempt=2, at=1.0, worker="w")
UNKNOWN = Failure("longboat.UnknownTask", "nobody knows it")
NOW = 5.0

OUTCOMES: dict[str, Outcome] = {
    "done": Done(b"v"),
    "retry": Retry(0.0, BOOM),
    "retry later": Retry(60.0, BOOM),
    "dead": Dead(BOOM),
    "dead uncounted": Dead(BOOM, counted=False),
    "cancelled": Cancelled(BOOM),
    "release": Release(),
    "release later": Release(60.0),
    "park": Park(60.0, UNKNOWN),
}

# By outcome and whether the job's cancellation was requested: state, attempts counted, deaths forgotten, failures gained.
# "asked": the failure that says that it was cancelled, "boom" the outcome's own.
TABLE: dict[tuple[str, bool], tuple[State, int, bool, list[str]]] = {
    ("done", False): (State.SUCCEEDED, 1, False, []),
    ("done", True): (State.SUCCEEDED, 1, False, []),
    ("retry", False): (State.READY, 1, True, ["boom"]),
    ("retry", True): (State.CANCELLED, 1, False, ["boom", "asked"]),
    ("retry later", False): (State.SCHEDULED, 1, True, ["boom"]),
    ("retry later", True): (State.CANCELLED, 1, False, ["boom", "asked"]),
    ("dead", False): (State.DEAD, 1, False, ["boom"]),
    ("dead", True): (State.DEAD, 1, False, ["boom"]),
    ("dead uncounted", False): (State.DEAD, 0, False, ["boom"]),
    ("dead uncounted", True): (State.DEAD, 0, False, ["boom"]),
    ("cancelled", False): (State.CANCELLED, 0, False, ["boom"]),
    ("cancelled", True): (State.CANCELLED, 0, False, ["boom"]),
    ("release", False): (State.READY, 0, False, []),
    ("release", True): (State.CANCELLED, 0, False, ["asked"]),
    ("release later", False): (State.SCHEDULED, 0, False, []),
    ("release later", True): (State.CANCELLED, 0, False, ["asked"]),
    ("park", False): (State.WAITING, 0, False, []),
    ("park", True): (State.CANCELLED, 0, False, ["asked"]),
}

CASES = [pytest.param(*case, id=f"{case[0]}{', cancelled' * case[1]}") for case in TABLE]


def gained(names: list[str], attempts: int) -> tuple[Failure, ...]:
    words = {"boom": BOOM, "asked": reasons.cancelled(NOW, attempts)}
    return tuple(words[name] for name in names)


def test_every_outcome_stands_in_the_table() -> None:
    assert set(TABLE) == set(product(OUTCOMES, (False, True)))
    assert {type(outcome) for outcome in OUTCOMES.values()} == set(Outcome.__args__)


@pytest.mark.parametrize(("name", "cancelled"), CASES)
def test_the_decision_is_that_of_the_table(name: str, cancelled: bool) -> None:
    state, counts, forgets, failures = TABLE[name, cancelled]
    outcome = OUTCOMES[name]
    then = after(outcome, cancelled=cancelled, now=NOW, attempts=1)
    returns = not state.ended
    assert then == Transition(
        state,
        counts=bool(counts),
        delay=60.0 if returns and name in ("retry later", "release later", "park") else 0.0,
        forgets_deaths=forgets,
        failures=gained(failures, 1 + counts),
        parked=UNKNOWN if state is State.WAITING else None,
    )


# --- brokers

PLAYED = ["memory", "sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("manager", "redis", "postgres"))]
"""Brokers of tests/rigs/harnesses.py that these cases are played on."""


@pytest.fixture(params=PLAYED)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if reason := unavailable(request.param):
        pytest.skip(reason)
    with closing(ADAPTERS[request.param](tmp_path, SYSTEM).open()) as broker:
        yield broker


@pytest.mark.parametrize(("name", "cancelled"), CASES)
def test_the_broker_does_as_the_table_says(broker: Broker, name: str, cancelled: bool) -> None:
    """On the second attempt of a job that two workers died over since the first."""
    state, counts, forgets, failures = TABLE[name, cancelled]
    job = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", queue="q", keep=60.0)
    broker.put([job])
    _lease_and_settle(broker, Retry(0.0, BOOM))
    for _ in range(2):
        dead = broker.consumer(["q"], lease=60.0)
        dead.receive(1, wait=5.0)
        assert broker.evict(dead.id, BOOM) == 1
        dead.close()
    _lease_and_settle(broker, OUTCOMES[name], cancel=cancelled)
    view = _view(broker, job.id)
    assert (view.state, view.attempts) == (state, 1 + counts)
    words = [(each.type, each.message, each.attempt, each.worker) for each in (BOOM, *gained(failures, 1 + counts))]
    assert [(each.type, each.message, each.attempt, each.worker) for each in view.failures] == words
    if state in (State.READY, State.WAITING):
        consumer = broker.consumer(["q"], lease=60.0, tasks=["t"])
        (lease,) = consumer.receive(1, wait=5.0)
        assert (lease.attempt, lease.worker_deaths) == (2 + counts, 0 if forgets else 2)
        consumer.close()
    if state is State.SCHEDULED:
        assert view.due is not None
        assert abs(view.due - SYSTEM.now() - 60.0) < 10.0


def test_a_parked_job_dies_of_the_reason_it_was_parked_for(broker: Broker) -> None:
    job = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", queue="q")
    broker.put([job])
    _lease_and_settle(broker, Park(0.05, UNKNOWN))
    consumer = broker.consumer(["q"], lease=60.0)
    end = SYSTEM.monotonic() + 5.0
    while _view(broker, job.id).state is not State.DEAD and SYSTEM.monotonic() < end:
        consumer.receive(1, wait=0.05)
    consumer.close()
    assert [failure.type for failure in _view(broker, job.id).failures] == [UNKNOWN.type]


def _lease_and_settle(broker: Broker, outcome: Outcome, *, cancel: bool = False) -> None:
    consumer = broker.consumer(["q"], lease=60.0)
    (lease,) = consumer.receive(1, wait=5.0)
    if cancel:
        assert broker.inspector.cancel([lease.job.id]) == [lease.job.id]
    assert consumer.settle([Settlement(lease, outcome)]) == []
    consumer.close()


def _view(broker: Broker, job_id: str) -> JobView:
    (view,) = broker.inspector.find([job_id])
    assert view is not None
    return view
