"""What the scripts make of an outcome is what core/transitions.py decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.contract.broker import Settlement
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
from longboat.core.transitions import after
from tests.rigs.harnesses import NewRedis, unavailable

FAILURE = Failure("builtins.ValueError", "boom", "trace", 1, 3.0, "w")
OUTCOMES: list[Outcome] = [
    Done(b"\xc0"),
    Retry(0.0, FAILURE),
    Retry(60.0, FAILURE),
    Dead(FAILURE),
    Dead(FAILURE, counted=False),
    Cancelled(FAILURE),
    Release(),
    Release(60.0),
    Park(60.0, FAILURE),
]


@pytest.mark.parametrize("cancelled", [False, True], ids=["wanted", "cancelled"])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_an_outcome(outcome: Outcome, cancelled: bool, tmp_path: Path) -> None:
    if reason := unavailable("redis"):
        pytest.skip(reason)
    broker = NewRedis(tmp_path, SYSTEM).open()
    job = Job(MESSAGE_VERSION, new_id(), "t", b"\x80", "q")
    broker.put([job])
    died = broker.consumer(["q"], lease=60.0)
    died.receive(1, wait=1.0)
    broker.evict(died.id, FAILURE)  # so that there is a worker's death to forget
    consumer = broker.consumer(["q"], lease=60.0)
    (lease,) = consumer.receive(1, wait=1.0)
    assert (lease.attempt, lease.worker_deaths) == (1, 1)
    if cancelled:
        assert broker.inspector.cancel([job.id]) == [job.id]
    assert consumer.settle([Settlement(lease, outcome)]) == []
    wanted = after(outcome, cancelled=cancelled, now=0.0)
    (seen,) = broker.inspector.find([job.id])
    assert seen is not None
    assert (seen.state, seen.attempts) == (wanted.state, int(wanted.counts))
    assert [(f.type, f.message, f.attempt) for f in seen.failures] == [
        (f.type, f.message, f.attempt) for f in wanted.failures
    ]
    if wanted.state is State.READY:
        (again,) = consumer.receive(1, wait=1.0)
        assert again.worker_deaths == (0 if wanted.forgets_deaths else 1)
    consumer.close()
    died.close()
    broker.close()
