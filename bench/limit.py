"""The limit: the loop that one writes by hand on the same kind of file, as fast as it gets in one process.

One transaction settles a batch and claims the next, every job is decoded and gets an asyncio task of its own. There is no
lease that runs out, no retry, no result, no second worker: it is what remains when all that a queue is for is left out.
`python -m bench.limit NUMBER MODE` prints jobs drained a second and jobs put a second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.place import folder
from longboat.core import codec
from longboat.core.job import MESSAGE_VERSION, Job, new_id, order_of

BATCH = 500
PUT = 1000

_TABLES = """
    CREATE TABLE ready (queue TEXT, rank INTEGER, seq INTEGER, id TEXT, body BLOB, PRIMARY KEY (queue, rank, seq, id))
    WITHOUT ROWID;
    CREATE TABLE leased (seq INTEGER, id TEXT, queue TEXT, rank INTEGER, body BLOB, PRIMARY KEY (seq, id)) WITHOUT ROWID;
"""
_UP_TO = "queue = ? AND (rank, seq, id) <= (0, ?, ?)"


def connect(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(path / "limit.db", isolation_level=None)
    db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = {mode}; PRAGMA cache_size = -16000;")
    return db


def put(db: sqlite3.Connection, number: int) -> None:
    """Encoded Longboat jobs, a thousand in a transaction."""
    for start in range(0, number, PUT):
        rows = []
        for _ in range(min(PUT, number - start)):
            job = Job(MESSAGE_VERSION, new_id(), "bench.jobs.noop", codec.encode({}), enqueued=time.time())
            rows.append(("default", 0, order_of(job.id), job.id, codec.encode_job(job)))
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO ready VALUES (?, ?, ?, ?, ?)", rows)
        db.execute("COMMIT")


def step(db: sqlite3.Connection, held: tuple[int, str] | None, most: int) -> list[tuple[int, str, bytes]]:
    """Settle what is held and claim up to `most` more, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    if held:
        db.execute("DELETE FROM leased WHERE (seq, id) <= (?, ?)", held)
    rows = db.execute(
        "SELECT seq, id, body FROM ready WHERE queue = ? ORDER BY rank, seq, id LIMIT ?", ("default", most)
    ).fetchall()
    if rows:
        last = ("default", *rows[-1][:2])
        db.execute(f"INSERT INTO leased SELECT seq, id, queue, rank, body FROM ready WHERE {_UP_TO}", last)
        db.execute(f"DELETE FROM ready WHERE {_UP_TO}", last)
    db.execute("COMMIT")
    return rows


async def noop() -> None:
    """The job."""


async def drain(db: sqlite3.Connection) -> int:
    loop, held, count = asyncio.get_running_loop(), None, 0
    while rows := step(db, held, BATCH):
        held = rows[-1][:2]
        tasks = []
        for _, _, body in rows:
            codec.decode_job(body)
            tasks.append(asyncio.Task(noop(), loop=loop))
        for task in tasks:
            await task
        count += len(tasks)
    return count


def measure_drain(number: int, mode: str) -> tuple[float, float]:
    """(jobs drained a second, jobs put a second)"""
    with folder() as path:
        db = connect(path, mode)
        db.executescript(_TABLES)
        begun = time.perf_counter()
        put(db, number)
        filled = time.perf_counter()
        count = asyncio.run(drain(db))
        ended = time.perf_counter()
        db.close()
    assert count == number
    return number / (ended - filled), number / (filled - begun)


def measure_roundtrips(number: int, mode: str) -> list[float]:
    """Seconds of each of so many round trips to a second process, woken through a pipe: put, claim, settle, read."""
    with folder() as path:
        db = connect(path, mode)
        db.executescript(_TABLES + "CREATE TABLE ended (id TEXT PRIMARY KEY, result BLOB) WITHOUT ROWID;")
        here, there = multiprocessing.Pipe()
        other = multiprocessing.get_context("spawn").Process(target=answer, args=(path, mode, there))
        other.start()
        here.recv()
        times = []
        for _ in range(number):
            begun = time.perf_counter()
            put(db, 1)
            here.send_bytes(b"put")
            job_id = here.recv_bytes().decode()
            assert db.execute("SELECT result FROM ended WHERE id = ?", (job_id,)).fetchone() == (codec.NONE,)
            times.append(time.perf_counter() - begun)
        here.close()
        other.join()
        db.close()
    return times


def answer(path: Path, mode: str, pipe: Connection) -> None:
    """The other process of the round trips."""
    db = connect(path, mode)
    pipe.send(True)
    try:
        while pipe.recv_bytes():
            ((seq, job_id, body),) = step(db, None, 1)
            codec.decode_job(body)
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO ended VALUES (?, ?)", (job_id, codec.NONE))
            db.execute("DELETE FROM leased WHERE (seq, id) = (?, ?)", (seq, job_id))
            db.execute("COMMIT")
            pipe.send_bytes(job_id.encode())
    except EOFError:
        db.close()


if __name__ == "__main__":
    print(*measure_drain(int(sys.argv[1]), sys.argv[2]))
