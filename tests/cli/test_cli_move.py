"""`longboat move` as people use it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import Settlement
from longboat.core.job import Dead, Done, Failure, new_id
from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """With jobs of several kinds."""
    shell = project(tmp_path)
    shell.run("enqueue", "tasks.add", "1", "2", "--id", "sum")
    shell.run("enqueue", "tasks.boom", "dead soon", "--id", "boom")
    with closing(SqliteBroker(shell.folder / "longboat.db")) as broker:
        consumer = broker.consumer([], lease=60)
        dead = Dead(Failure("builtins.ValueError", "dead soon", attempt=1))
        ends = [Settlement(each, dead if each.job.id == "boom" else Done(b"\x03")) for each in consumer.receive(2, wait=5)]
        assert (len(ends), consumer.settle(ends)) == (2, [])
        consumer.close()
    shell.run("enqueue", "tasks.add", "3", "4", "--id", "now")
    shell.run("enqueue", "tasks.add", "5", "6", "--id", "later", "--delay", "1h")
    shell.run("enqueue", "tasks.sleep", "0", "--id", "slow")
    return shell


OLD, NEW = "sqlite:///longboat.db", "sqlite:///new.db"


def states(shell: Shell, url: str) -> dict[str, str]:
    """By id."""
    listed = [json.loads(line) for line in shell.run("jobs", "--json", "--url", url).out.splitlines()]
    return {job["id"]: job["state"] for job in listed}


def test_all_that_can_move_does(shell: Shell) -> None:
    done = shell.run("move", OLD, NEW, "--yes")
    assert (done.out, done.err) == ("moved 4 jobs\n", "")
    assert states(shell, OLD) == {"sum": "succeeded"}
    assert states(shell, NEW) == {"now": "ready", "later": "scheduled", "slow": "ready", "boom": "dead"}
    assert "ValueError: dead soon" in shell.run("dead", "show", "boom", "--url", NEW).out
    shell.run("worker", "--burst", env={"LONGBOAT_URL": NEW})
    assert shell.run("result", "now", "--url", NEW).out == "7\n"
    assert shell.run("move", OLD, NEW).out == "no such jobs\n"


def test_one_queue(shell: Shell) -> None:
    assert shell.run("move", OLD, NEW, "--queue", "slow", "--yes").out == "moved 1 job\n"
    assert states(shell, NEW) == {"slow": "ready"}


def test_a_dry_run_and_a_question_change_nothing(shell: Shell) -> None:
    said = shell.run("move", OLD, NEW, "--dry-run").out
    assert said.startswith("would move 4 jobs (1 scheduled, 2 ready, 1 dead) to sqlite:///")
    assert said.endswith("new.db; nothing was changed\n")
    document = json.loads(shell.run("move", OLD, NEW, "--dry-run", "--json").out)
    assert document == {"would_move": 4, "scheduled": 1, "ready": 2, "dead": 1, "in_transfer": 0}
    assert "no terminal to ask on" in shell.fails("move", OLD, NEW, status=2).err
    shown, status = shell.on_terminal("move", OLD, NEW, answer="n")
    assert (status, "Continue? [y/N]" in shown) == (1, True)
    assert len(states(shell, OLD)) == 5
    shown, status = shell.on_terminal("move", OLD, NEW, answer="y")
    assert (status, "moved 4 jobs" in shown, "Moved" in shown) == (0, True, True)


def test_json(shell: Shell) -> None:
    shell.run("enqueue", "tasks.add", "0", "0", "--id", "now", env={"LONGBOAT_URL": NEW})
    done = shell.run("move", OLD, NEW, "--yes", "--json")
    assert json.loads(done.out) == {"moved": 3, "resumed": 0, "known": 1, "late": 0, "left": {}}
    assert "1 job had ids that the destination already knew" in done.err


def test_what_a_killed_move_has_packed_is_told_and_finished(shell: Shell) -> None:
    with closing(SqliteBroker(shell.folder / "longboat.db")) as broker:
        broker.transfer.export_jobs(f"{new_id()} sqlite:///{shell.folder}/new.db", ["now", "boom"])
    assert "2 in transfer" in shell.run("move", OLD, NEW, "--dry-run").out
    elsewhere = shell.run("move", OLD, "sqlite:///third.db", "--queue", "slow", "--yes").err
    assert f"2 jobs of the source are in transfer to sqlite:///{shell.folder}/new.db" in elsewhere
    document: dict[str, Any] = json.loads(shell.run("move", OLD, NEW, "--yes", "--json").out)
    assert (document["moved"], document["resumed"]) == (3, 2)
    assert states(shell, NEW) == {"now": "ready", "boom": "dead", "later": "scheduled"}


def test_running_jobs_stay_and_are_told(shell: Shell) -> None:
    with closing(SqliteBroker(shell.folder / "longboat.db")) as broker:
        consumer = broker.consumer(["slow"], lease=60)
        assert consumer.receive(1, wait=5)
        done = shell.run("move", OLD, NEW, "--yes")
        assert (done.out, done.err) == ("moved 3 jobs\n", "left at the source: 1 running\n")
        consumer.close()


def test_what_cannot_be_moved_is_refused(shell: Shell) -> None:
    assert "same store" in shell.fails("move", OLD, f"sqlite:///{shell.folder}/longboat.db", "--yes", status=3).err
    assert "there is no file" in shell.fails("move", "sqlite:///none.db", NEW, "--yes", status=4).err
    assert "memory://" in shell.fails("move", OLD, "memory://", "--yes", status=2).err
    gone = shell.fails("move", OLD, "redis://127.0.0.1:1/0?timeout=300ms", "--yes", status=4).err
    assert "127.0.0.1:1" in gone
    assert len(states(shell, OLD)) == 5
