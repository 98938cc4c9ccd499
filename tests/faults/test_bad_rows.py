"""Garbage written into the file by hand, among good jobs: it dies with its bytes, and nothing else comes to harm."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from longboat.core import codec
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Job, State, new_id, order_of
from longboat.core.reasons import UNDECODABLE
from longboat.errors import Undecodable
from tests.rigs.fault import Yard

pytestmark = pytest.mark.slow

GOOD = 500


def bodies() -> Iterator[tuple[str, bytes]]:
    """Ids and messages that are none."""
    chance = random.Random(7)
    for size in (0, 1, 2, 10, 100, 1000, 100_000):
        yield new_id(), chance.randbytes(size)
    job_id = new_id()
    whole = codec.encode_job(
        Job(MESSAGE_VERSION, job_id, "tests.apps.fault_app.nap", msgspec.msgpack.encode({"seconds": 0.0}))
    )
    for length in range(len(whole)):
        yield new_id(), whole[:length]
    for place in range(0, len(whole), 5):
        yield new_id(), whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
    yield new_id(), whole + b"\x00"
    yield new_id(), whole  # a message of another job
    values: list[object] = [None, [], {}, [None] * 11, [1, 2, 3], "text", [MESSAGE_VERSION, 5, 5, 5], 2**63]
    for value in values:
        yield new_id(), msgspec.msgpack.encode(value)
    yield new_id(), msgspec.msgpack.encode(Job(99, new_id(), "x", b""))
    nan, gate = float("nan"), Constraints(limits=[JobLimit("g", starts=1, per=float("nan"))])
    for fields in ({"keep": nan}, {"expires": nan}, {"task": "x" * 500_000}, {"constraints": gate}):
        job = msgspec.structs.replace(Job(MESSAGE_VERSION, job_id := new_id(), "x", b"\x80"), **fields)
        yield job_id, msgspec.msgpack.encode(job)
    yield new_id(), b"\x91" * 100_000  # nested deeper than any stack
    yield "chosen\nid \x00 'with' \"quotes\" \N{SNOWMAN}", b"\xc1"
    yield "", b"\xff"


def shown(body: bytes) -> bytes:
    """What is looked at as the payload: all of it, unless it is some other job's whole message."""
    try:
        return codec.decode_job(body).payload
    except Undecodable:
        return body


def test_garbage_dies_with_its_bytes_and_good_jobs_run_once(yard: Yard) -> None:
    yard.enqueue_many("nap", GOOD // 2, 0.001)
    garbage = list(bodies())
    with closing(sqlite3.connect(yard.folder / "queue.db")) as db, db:
        for job_id, body in garbage:
            seq = order_of(job_id)
            if seq is None:
                seq = order_of(new_id())
                db.execute("INSERT INTO longboat_places VALUES (?, ?, NULL)", (job_id, seq))
            db.execute("INSERT INTO longboat_jobs VALUES (?, ?, ?)", (seq, job_id, body))
            db.execute("INSERT INTO longboat_ready VALUES ('default', 0, ?, ?, 0, 0, NULL, NULL)", (seq, job_id))
    yard.enqueue_many("nap", GOOD // 2, 0.001)
    tree = yard.start()
    [worker] = tree.up()
    yard.until_ended(GOOD, 20)
    yard.until_over(10)
    assert tree.workers() == [worker]
    assert tree.stop() == 0
    assert "Traceback" not in tree.said()
    runs = yard.check.runs()
    assert len(runs) == GOOD
    assert all(len(each) == 1 for each in runs.values())
    dead = yard.check.views([job_id for job_id, _ in garbage])
    for job_id, body in garbage:
        view = dead[job_id]
        assert view.state is State.DEAD
        assert view.payload == shown(body)
        assert [failure.type for failure in view.failures] == [UNDECODABLE]


def test_rows_of_wrong_kinds(yard: Yard) -> None:
    """A row with no message, one with no row, broken failures, and values that the columns do not bear."""
    ids = yard.enqueue_many("nap", GOOD, 0.001)
    yard.query("INSERT INTO longboat_ready VALUES ('default', 0, 5, 'nothing stands behind this', 0, 0, NULL, NULL)")
    yard.query("UPDATE longboat_ready SET failures = x'c1ff00' WHERE id = ?", ids[3])
    yard.query("UPDATE longboat_ready SET failures = ? WHERE id = ?", b"\x91" * 100_000, ids[5])
    yard.query("UPDATE longboat_ready SET attempts = 9223372036854775807 WHERE id = ?", ids[6])
    yard.query("UPDATE longboat_ready SET expires_at = -1e300 WHERE id = ?", ids[4])
    yard.query("INSERT INTO longboat_ready VALUES (?, 0, 7, 'queue of no name', 0, 0, NULL, NULL)", "\n\x00")
    yard.query("INSERT INTO longboat_jobs VALUES (9, 'behind no row', x'00')")
    for values in ("NULL, 0, 1, 'x'", "'default', 'high', 1, 'x'", "'default', 0, 1, NULL"):
        with pytest.raises(sqlite3.IntegrityError):
            yard.query(f"INSERT INTO longboat_ready VALUES ({values}, 0, 0, NULL, NULL)")
    tree = yard.start()
    [worker] = tree.up()
    yard.until_ended(GOOD - 2, 20)
    yard.until_over(5)
    assert tree.workers() == [worker]
    assert tree.stop() == 0
    runs = yard.check.runs()
    assert runs.keys() == set(ids) - {ids[4], ids[6]}
    assert all(len(each) == 1 for each in runs.values())
