"""The spool: `enqueue` succeeds while the broker is away, and what it has kept is delivered when the broker is back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longboat import (
    BrokerMisconfigured,
    BrokerUnavailable,
    ConfigError,
    Longboat,
    NotDelivered,
    ResultTimeout,
    State,
)
from longboat.cli.diagnosis import Findings, _kept
from longboat.client import spool as spools
from longboat.client.kept import summaries
from longboat.client.spool import SpoolOptions, _turn_wal_on
from longboat.tasks.handle import Handle
from tests.client.shop import with_tasks
from tests.rigs.fault import until
from tests.rigs.servers.process import free_ports


@pytest.fixture
def away() -> str:
    """A URL at which there is no server."""
    return f"redis://127.0.0.1:{free_ports(1)[0]}"


def shop(url: str, spool: str) -> Longboat:
    return with_tasks(Longboat(url, spool=spool))


@pytest.fixture
def app(away: str, tmp_path: Path) -> Iterator[Longboat]:
    with shop(away, f"sqlite:///{tmp_path}/spool.db") as made:
        yield made


def test_every_kind_of_call_is_kept_while_the_broker_is_away(app: Longboat, tmp_path: Path) -> None:
    send, once = app.named("send"), app.named("once")
    handles = [send.enqueue(1), asyncio.run(awaited(app)), once.enqueue(1), *send.enqueue_many([(n,) for n in range(20)])]
    defined: Any = app.registry.tasks["send"]
    flow = defined.s(1).then(defined).enqueue()
    assert [handle.status() for handle in handles] == [State.WAITING] * 23
    assert [str(each).partition("spool.db")[2] for each in summaries(app.spool, None)] == [
        ": 25 jobs to deliver, the oldest for 0 s"
    ]
    with pytest.raises(ResultTimeout, match="spool"):
        handles[0].result(timeout=0.6)
    assert stat.S_IMODE(os.stat(tmp_path / "spool.db").st_mode) == 0o600
    app.close()
    with shop(f"sqlite:///{tmp_path}/queue.db", str(app.spool)) as later, later.worker():
        assert later.job(handles[0].id).result(timeout=10) == 1, "who opens the spool next delivers"
        until(lambda: [each.jobs for each in summaries(later.spool, None) if not isinstance(each, str)] == [0], 10)
        assert later.flow(flow.id).result(timeout=10) == 1
        assert [later.job(handle.id).result(timeout=10) for handle in handles[3:]] == list(range(20))


async def awaited(app: Longboat) -> Handle[Any]:
    return await app.named("send").aenqueue(1)


def test_a_spool_is_bounded(away: str, tmp_path: Path) -> None:
    with shop(away, f"sqlite:///{tmp_path}/spool.db?limit=10") as app:
        send = app.named("send")
        send.enqueue_many([(n,) for n in range(9)])
        with pytest.raises(BrokerUnavailable, match="is full"):
            send.enqueue_many([(1,), (2,)])
        send.enqueue(9)
        with pytest.raises(BrokerUnavailable, match="is full"):
            send.enqueue(10)


def test_a_job_that_misses_its_deadline_is_told(away: str, tmp_path: Path) -> None:
    with shop(away, f"sqlite:///{tmp_path}/spool.db?deadline=300ms") as app:
        handle = app.named("send").enqueue(1)
        with pytest.raises(NotDelivered, match="deadline"):
            handle.result(timeout=20)
        with pytest.raises(NotDelivered, match="deadline"):
            handle.status()
        findings = Findings()
        _kept(findings, app)
        assert findings.facts["spool"]["said"].endswith("spool.db: empty; 1 that were not delivered")
        assert [problem.what for problem in findings.problems] == ["1 jobs in the spool were not delivered"]


def test_a_spool_hides_no_mistake(tmp_path: Path, away: str) -> None:
    misled = shop(f"sqlite:///{tmp_path}/missing/queue.db", f"sqlite:///{tmp_path}/spool.db")
    with misled as app, pytest.raises(BrokerMisconfigured, match="missing"):
        app.named("send").enqueue(1)
    with (
        shop(away, f"sqlite:///{tmp_path}/missing/spool.db") as app,
        pytest.raises(BrokerUnavailable, match=r"missing/spool\.db"),
    ):
        app.named("send").enqueue(1)
    for url in (
        "redis://x",
        "sqlite:///",
        "sqlite:///s.db?limit=none",
        "sqlite:///s.db?limt=1",
        "sqlite:///s.db?deadline=0",
    ):
        with pytest.raises(ConfigError):
            Longboat(away, spool=url)


def test_nothing_is_asked_of_a_broker_that_is_away(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call finds out; the others need not wait for its time limit."""
    monkeypatch.setattr(spools, "_FIRST_PAUSE", 60.0)
    app.named("send").enqueue(1)
    asked: list[object] = []
    monkeypatch.setattr(app.broker, "put", asked.append)
    app.named("send").enqueue(2)
    assert asked == []


def test_programs_that_make_the_file_together_wait_for_each_other(tmp_path: Path) -> None:
    """They all learn in the same moment that the broker is away."""
    together = threading.Barrier(6)

    def made(path: Path) -> None:
        together.wait(10)
        with closing(SpoolOptions.of(f"sqlite:///{path}").table()) as table:
            table.create()

    with ThreadPoolExecutor(6) as programs:
        for attempt in range(30):
            list(programs.map(made, [tmp_path / f"{attempt}.db"] * 6))


def test_a_file_that_another_program_recovers_is_waited_for() -> None:
    class Recovering:
        tries = 0

        def execute(self, _: str) -> None:
            self.tries += 1
            if self.tries == 1:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
                raise error

    db = Recovering()
    _turn_wal_on(db)
    assert db.tries == 2
