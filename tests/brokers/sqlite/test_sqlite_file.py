"""The file: its modes, its schema, and what is said of files that are none of ours."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker, layout
from longboat.brokers.sqlite.store import PAGE_SIZE
from longboat.core.job import Job, State
from longboat.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable, StoreTooNew


def test_only_its_owner_may_read_what_is_stored(broker: SqliteBroker, path: Path, job: Callable[..., Job]) -> None:
    consumer = broker.consumer([], lease=10)
    broker.put([job()])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    consumer.close()
    assert modes == {
        "queue.db": 0o600,
        "queue.db-wal": 0o600,
        "queue.db-shm": 0o600,
        "queue.db-lock": 0o600,
        "queue.db-wake": 0o700,
    }


def test_nothing_is_made_before_the_first_use(path: Path) -> None:
    SqliteBroker(path).close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("mode", "level"), [("full", 2), ("normal", 1)])
def test_every_connection_syncs_as_asked(path: Path, mode: str, level: int) -> None:
    broker = SqliteBroker(path, synchronous=mode)  # type: ignore[arg-type]  # one of the two
    with broker._store.write() as tx:
        assert tx.run("PRAGMA synchronous").fetchone()[0] == level
        assert tx.run("PRAGMA journal_mode").fetchone()[0] == "wal"
    broker.close()


def test_an_enqueue_writes_few_bytes(broker: SqliteBroker, path: Path, job: Callable[..., Job]) -> None:
    """A page of each table that it changes, in a file whose pages are small."""
    log = Path(f"{path}-wal")
    broker.put([job()], token=("c", 1))
    before = log.stat().st_size
    broker.put([job()], token=("c", 2))
    assert log.stat().st_size - before < 5 * PAGE_SIZE < 5 * 4096


def test_another_programs_database_may_be_shared(path: Path, job: Callable[..., Job]) -> None:
    """Its tables and its marks stay as they are: the names of ours have a prefix."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE jobs (n)")
        db.execute("INSERT INTO jobs VALUES (1)")
        db.execute("PRAGMA user_version = 7")
        size = db.execute("PRAGMA page_size").fetchone()
    broker = SqliteBroker(path)
    assert broker.put([made := job()]) == [made.id]
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT n FROM jobs").fetchall() == [(1,)]
        assert db.execute("PRAGMA user_version").fetchone() == (7,)
        assert db.execute("PRAGMA page_size").fetchone() == size != (PAGE_SIZE,)
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")} - {"jobs"}
        assert all(name.startswith(("longboat_", "sqlite_")) for name in names)
        db.execute("UPDATE longboat_layout SET version = 99")
        db.commit()
    newer = SqliteBroker(path)
    with pytest.raises(StoreTooNew, match="99"):
        newer.inspector.counts()
    newer.close()


def test_a_store_of_before_the_prefix_is_brought_up_to_date(path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(path)
    put = [job(), job(delay=60.0)]
    broker.put(put)
    broker.close()
    with closing(sqlite3.connect(path)) as db:  # as layout 3 was
        indexes = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'longboat_%'").fetchall():
            db.execute(f"ALTER TABLE {name} RENAME TO {name.removeprefix('longboat_')}")
        for _, sql in indexes:
            db.execute(sql.replace("longboat_", ""))
        db.execute("PRAGMA user_version = 3")
        db.commit()
    later = SqliteBroker(path)
    assert [view.id for view in later.inspector.find([each.id for each in put]) if view] == [each.id for each in put]
    consumer = later.consumer([], lease=10)
    assert [lease.job.id for lease in consumer.receive(5, wait=0)] == [put[0].id]
    consumer.close()
    later.close()
    with closing(sqlite3.connect(path)) as db:
        assert (
            db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall() == indexes
        )
        assert db.execute("PRAGMA user_version").fetchone() == (layout.LAYOUT,)


def test_a_file_that_is_no_database_says_what_to_do(path: Path, job: Callable[..., Job]) -> None:
    path.write_bytes(b"not a database, " * 1000)
    broker = SqliteBroker(path)
    with pytest.raises(BrokerError, match="aside"):
        broker.put([job()])
    broker.close()


def test_a_damaged_database_says_what_to_do(broker: SqliteBroker, path: Path, job: Callable[..., Job]) -> None:
    broker.put([job() for _ in range(1000)])
    broker.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    damaged = SqliteBroker(path)
    with pytest.raises(BrokerError, match="damaged"):
        damaged.consumer([], lease=10).receive(1000, wait=0)
    damaged.close()


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path, job: Callable[..., Job]) -> None:
    broker = SqliteBroker(tmp_path / "missing" / "queue.db")
    with pytest.raises(BrokerMisconfigured, match="missing"):
        broker.put([job()])
    broker.close()


def test_a_file_that_was_removed_is_made_again(broker: SqliteBroker, path: Path, job: Callable[..., Job]) -> None:
    consumer = broker.consumer([], lease=10)
    broker.put([job(), job()])
    for suffix in ("", "-wal", "-shm"):
        os.unlink(f"{path}{suffix}")
    later = SqliteBroker(path)
    later.put([job()])
    assert broker.inspector.counts() == {("default", State.READY): 1}
    assert not consumer.extend().alive
    broker.put([job()])
    assert later.inspector.counts() == {("default", State.READY): 2}
    consumer.close()
    later.close()


def test_a_closed_broker_says_so(broker: SqliteBroker, job: Callable[..., Job]) -> None:
    broker.close()
    with pytest.raises(BrokerUnavailable, match="closed"):
        broker.put([job()])
    broker.close()


def test_a_store_of_a_newer_version_is_refused(broker: SqliteBroker, path: Path, job: Callable[..., Job]) -> None:
    broker.put([job()])
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    newer = SqliteBroker(path)
    with pytest.raises(StoreTooNew, match="upgrade"):
        newer.inspector.counts()
    newer.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_an_older_layout_is_refused_with_what_to_do(
    broker: SqliteBroker, path: Path, job: Callable[..., Job], version: int
) -> None:
    broker.put([job()])
    broker.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    older = SqliteBroker(path)
    with pytest.raises(BrokerError, match=rf"layout {version}, .* finish its jobs; then move the file aside"):
        older.put([job()])
    older.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("SELECT count(*) FROM longboat_ready").fetchone() == (1,)


def test_two_processes_may_create_the_same_store(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert not layout.is_current(db, "queue.db")
        layout.create(db, "queue.db")
        assert layout.is_current(db, "queue.db")
        layout.create(db, "queue.db")  # by the one that had looked before the other was done


def test_a_creation_that_fails_changes_nothing(broker: SqliteBroker, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = ["CREATE TABLE half (n)", "CREATE TABLE half (n)"]
    monkeypatch.setattr(layout, "_statements", lambda _: half)
    with pytest.raises(BrokerError, match="already exists"):
        broker.inspector.counts()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert not db.execute("SELECT 1 FROM sqlite_schema").fetchall()
    monkeypatch.undo()
    assert broker.inspector.counts() == {}


def test_rows_of_wrong_types_cannot_be_written_by_hand(broker: SqliteBroker, path: Path) -> None:
    broker.inspector.counts()
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO longboat_ready VALUES ('q', 0, 'not a number', 'id', 0, 0, NULL, NULL)")


def test_rows_that_belong_to_no_message_die_and_harm_no_neighbour(
    broker: SqliteBroker, path: Path, job: Callable[..., Job]
) -> None:
    good, other = job(), job()
    broker.put([good, other])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO longboat_ready VALUES ('default', -9, 1, 'no message', 0, 0, NULL, NULL)")
        db.execute("INSERT INTO longboat_ready VALUES ('default', -9, 2, CAST(X'FF00FE' AS TEXT), 0, 0, NULL, X'FF')")
        db.execute(
            "UPDATE longboat_jobs SET message = (SELECT message FROM longboat_jobs WHERE id = ?) WHERE id = ?",
            (good.id, other.id),
        )
        db.execute("UPDATE longboat_counts SET n = n + 2")
    consumer = broker.consumer([], lease=10)
    try:
        leases = [*consumer.receive(10, wait=0), *consumer.receive(10, wait=0)]
        assert [lease.job.id for lease in leases] == [good.id]
        assert broker.inspector.counts() == {("default", State.RUNNING): 1, ("default", State.DEAD): 3}
    finally:
        consumer.close()
