"""The search language on the command line, and what is done to all jobs that it finds."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from longboat.core.job import State
from tests.rigs.cli import COMMAND, Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Three dead jobs and three ready ones, to be looked at only."""
    return stock(tmp_path_factory.mktemp("stocked"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return stock(tmp_path)


def stock(folder: Path) -> Shell:
    shell = project(folder)
    with Longboat(shell.url) as app:
        boom, add = app.named("tasks.boom"), app.named("tasks.add")
        boom.using(id="b1", queue="mail").enqueue("relay timeout")
        boom.using(id="b2", queue="mail").enqueue("no such host")
        boom.using(id="b3").enqueue("read timeout")
        shell.run("worker", "--burst")
        add.using(id="a1", queue="mail").enqueue(1, 2)
        add.using(id="a2", queue="mail").enqueue(a=3, b={"id": 4})
        add.using(id="a3", queue="later", delay="1h").enqueue(5, 6)
    return shell


def lines(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.run(*arguments, "--json").out.splitlines()]


def ids(shell: Shell, *arguments: str) -> str:
    return " ".join(sorted(job["id"] for job in lines(shell, *arguments)))


def counts(shell: Shell) -> dict[tuple[str, str], int]:
    return {
        (queue["queue"], state): number
        for queue in lines(shell, "queues")
        for state, number in queue.items()
        if state in tuple(State) and number
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["state:dead"], "b1 b2 b3"),
        (["state:dead", "queue:mail", "error:timeout"], "b1"),
        (["state:dead queue:mail error:timeout"], "b1"),
        (["error:no such host"], "b2"),
        (["args.b.id:4"], "a2"),
        (["boom", "TIMEOUT"], "b1 b3"),
        (["task:tasks.a*", "--queue", "mail"], "a1 a2"),
        (["--state", "dead", "--queue", "mail", "error:host"], "b2"),
        (["state:dead,scheduled", "--state", "scheduled"], "a3"),
        (["id:b3,a1"], "a1 b3"),
        (["error:nothing"], ""),
    ],
    ids=" ".join,
)
def test_jobs_are_found_by_a_query(stocked: Shell, words: list[str], found: str) -> None:
    assert ids(stocked, "jobs", *words) == found


def test_pages_of_a_query_are_the_whole(stocked: Shell) -> None:
    first = lines(stocked, "jobs", "queue:mail", "--limit", "3")
    assert len(first) == 4
    rest = lines(stocked, "jobs", "queue:mail", "--limit", "3", "--after", first[-1]["after"])
    assert sorted(job["id"] for job in first[:-1] + rest) == ["a1", "a2", "b1", "b2"]
    said = stocked.run("jobs", "queue:mail", "--limit", "3").err
    (name,) = re.findall(r"^these are the first 3; to see more, repeat it with --after (\w{5})\n$", said)
    assert lines(stocked, "jobs", "queue:mail", "--limit", "3", "--after", name) == rest
    assert "not where this search ended" in stocked.fails("jobs", "state:ready", "--after", "dead:", status=3).err


def test_dead_jobs_are_found_by_a_query(stocked: Shell) -> None:
    assert ids(stocked, "dead", "list", "error:timeout") == "b1 b3"
    assert ids(stocked, "dead", "list", "error:timeout", "--queue", "mail") == "b1"


def test_a_group_still_has_its_commands(stocked: Shell) -> None:
    assert lines(stocked, "jobs", "show", "b1")[0]["queue"] == "mail"
    assert json.loads(stocked.run("jobs", "--json", "show", "b1").out)["queue"] == "mail"
    assert stocked.run("jobs", "state:dead", "show").out == "no jobs\n", "behind a word it is a word"


@pytest.mark.parametrize(("word", "meant"), [("work", "worker"), ("job", "jobs"), ("enque", "enqueue")])
def test_a_mistyped_command_is_told_which_was_meant(stocked: Shell, word: str, meant: str) -> None:
    what, advice = stocked.fails(word, "x", status=2).err.splitlines()
    assert what == f"Error: no such command {word!r}; did you mean {meant!r}?"
    assert advice == "Try `longboat --help`."


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["jobs", "shwo", "b1"], "show"), (["jobs", "retyr", "state:dead"], "retry"), (["workers", "quite", "x"], "quiet")],
    ids=" ".join,
)
def test_a_mistyped_command_is_not_taken_for_a_query(stocked: Shell, arguments: list[str], meant: str) -> None:
    what, advice = stocked.fails(*arguments, status=2).err.splitlines()
    assert what == f"Error: no such command {arguments[1]!r}; did you mean {meant!r}?"
    assert f"longboat {arguments[0]} -- {arguments[1]}" in advice


def test_every_word_after_two_dashes_is_a_querys(stocked: Shell) -> None:
    with Longboat(stocked.url) as app:
        app.named("tasks.show").using(id="s1", queue="shown").enqueue()
    assert stocked.run("jobs", "--json", "--", "shwo").out == ""
    assert json.loads(stocked.run("jobs", "--json", "--", "show").out)["id"] == "s1"
    assert stocked.run("jobs", "cancel", "queue:shown", "--yes").out == "cancelled 1 unfinished job\n"
    stocked.run("purge", "--queue", "shown", "--yes")


def test_a_misspelt_word_of_a_query_is_told(stocked: Shell) -> None:
    done = stocked.run("jobs", "stat:dead")
    assert (done.out, done.err.splitlines()[0]) == (
        "no jobs\n",
        "warning: 'stat:dead' is searched for as a text; did you mean state:dead?",
    )
    assert "warning" not in stocked.run("jobs", "http:dead").err


def test_queues_schedules_and_flows_are_found_by_a_query(shell: Shell) -> None:
    assert [each["queue"] for each in lines(shell, "queues", "state:dead")] == ["default", "mail"]
    assert [each["queue"] for each in lines(shell, "queues", "queue:m*")] == ["mail"]
    assert [each["queue"] for each in lines(shell, "queues", "LAT")] == ["later"]
    assert shell.run("queues", "nothing").out == "no such queues\n"
    for name, queue in (("one", "mail"), ("two", "later")):
        shell.run("schedules", "add", f"tasks.{name}", "every 5m", "--name", name, "--queue", queue)
    assert [each["name"] for each in lines(shell, "schedules", "list", "queue:mail")] == ["one"]
    assert [each["name"] for each in lines(shell, "schedules", "list", "task:*.two")] == ["two"]
    assert [each["name"] for each in lines(shell, "schedules", "list", "ON")] == ["one"]
    assert shell.run("schedules", "list", "three").out == "no such schedules\n"
    with Longboat(shell.url) as app:

        @app.task(name="tasks.add")
        async def add(a: int, b: int) -> int:
            return a + b

        @app.task(name="tasks.greet")
        async def greet(name: Any) -> str:
            return f"hello {name}"

        sums, greets = add.s(1, 2).then(add, 3).enqueue(), add.s(1, 2).then(greet).enqueue()
    assert [each["id"] for each in lines(shell, "flows", "list", "task:tasks.greet")] == [greets.id]
    assert [each["id"] for each in lines(shell, "flows", "list", f"flow:{sums.id}")] == [sums.id]
    shell.run("flows", "cancel", sums.id)
    assert [each["id"] for each in lines(shell, "flows", "list", "state:cancelled", "--limit", "1")] == [sums.id]
    assert shell.run("flows", "list", "nothing").out == "no such flows\n"


def said(worker: subprocess.Popen[str], text: str) -> None:
    """Wait for a line that holds it."""
    assert worker.stdout is not None
    while text not in (line := worker.stdout.readline()):
        assert line, "the worker left"


def test_workers_are_found_by_a_query(shell: Shell) -> None:
    with shell.start("worker", "--queues", "mail,slow") as worker:
        said(worker, "serves mail, slow")
        end = time.monotonic() + 20
        while not (found := lines(shell, "workers")):
            assert time.monotonic() < end, "the worker does not show itself"
        name = found[0]["name"]
        for words in (["queue:mail"], ["queue:s*"], [f"worker:{name}"], [name[:2].upper()]):
            assert [each["name"] for each in lines(shell, "workers", *words)] == [name], words
        for words in (["queue:default"], ["task:tasks.sleep"], ["worker:nobody"], ["nobody"]):
            assert shell.run("workers", *words).out == "no workers\n", words
        shell.run("enqueue", "tasks.sleep", "30")
        while not lines(shell, "workers", "task:*.sleep"):
            assert time.monotonic() < end + 20, "its job is not shown"
        assert re.search(r"tasks\.sleep\n  File .*tasks\.py\", line \d+, in ", shell.run("workers", "stack", name).out)
        assert "no such worker" in shell.run("workers", "stack", "nobody", status=1).err
        worker.send_signal(signal.SIGTERM)
        said(worker, "running jobs have")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)


def test_a_dry_run_counts_by_state_and_task(stocked: Shell) -> None:
    said = stocked.run("jobs", "discard", "queue:mail", "--dry-run").out.splitlines()
    assert said[0] == "would delete 4 jobs (2 ready, 2 dead); nothing was changed"
    assert [line.split() for line in said[1:]] == [
        ["state", "task", "jobs"],
        ["ready", "tasks.add", "2"],
        ["dead", "tasks.boom", "2"],
    ]
    done = stocked.run("jobs", "cancel", "queue:mail", "--dry-run", "--json")
    assert json.loads(done.out) == {
        "action": "cancel",
        "found": 2,
        "by": [{"state": "ready", "task": "tasks.add", "jobs": 2}],
        "dry_run": True,
        "done": 0,
        "stopped": False,
    }
    assert "no terminal" in stocked.fails("jobs", "cancel", "queue:mail", status=2).err
    assert stocked.run("jobs", "retry", "error:nothing", "--yes").out == "no such jobs\n"


def test_retry_cancel_discard_and_move(shell: Shell) -> None:
    assert shell.run("jobs", "retry", "error:timeout", "queue:mail", "--yes").out == "retried 1 dead job\n"
    assert shell.run("jobs", "cancel", "queue:later", "--yes").out == "cancelled 1 unfinished job\n"
    assert shell.run("jobs", "discard", "state:dead", "queue:default", "--yes").out == "deleted 1 job\n"
    moved = shell.run("jobs", "move", "queue:mail", "--to-queue", "other", "--yes")
    assert moved.out == "moved 4 jobs to queue other\n"
    assert counts(shell) == {("other", "ready"): 3, ("other", "dead"): 1, ("later", "cancelled"): 1}
    assert shell.run("jobs", "move", "queue:other", "--to-queue", "other", "--yes").out == "no such jobs\n"
    shell.run("worker", "--burst", "--queues", "other")
    assert shell.run("result", "a1").out == "3\n"
    document = json.loads(shell.run("jobs", "discard", "state:dead,ready,waiting", "--yes", "--json").out)
    assert (document["found"], document["done"]) == (3, 3)
    assert sorted(document["by"], key=itemgetter("state")) == [
        {"state": "dead", "task": "tasks.boom", "jobs": 2},
        {"state": "dead", "task": "tasks.add", "jobs": 1},  # its values cannot be converted
    ]


def test_jobs_of_a_flow_are_left_and_told(shell: Shell) -> None:
    with Longboat(shell.url) as app:

        @app.task(name="tasks.add", queue="flow")
        async def add(a: int, b: int) -> int:
            return a + b

        add.s(1, 2).then(add, 3).enqueue()
        add.enqueue(1, 2)
    done = shell.run("jobs", "move", "queue:flow", "--to-queue", "other", "--yes")
    assert done.out == "moved 1 job to queue other\n"
    assert done.err == "2 jobs skipped: changed in the meantime, or part of a flow\n"


def test_dead_jobs_by_ids_and_by_a_query(shell: Shell) -> None:
    done = shell.run("dead", "purge", "b1", "nobody", "--yes", status=1)
    assert (done.out, done.err) == ("deleted 1 job\n", "1 of the 2 ids: no such dead job\n")
    assert shell.run("dead", "retry", "error:timeout", "--yes").out == "retried 1 dead job\n"
    assert shell.run("dead", "purge", "error:timeout", "--yes").out == "no such jobs\n"
    document = json.loads(shell.run("dead", "purge", "--all", "--yes", "--json").out)
    assert (document["found"], document["done"], document["by"]) == (1, 1, [{"state": "dead", "jobs": 1}])
    assert [state for _, state in counts(shell)] == ["ready", "scheduled", "ready"]


class Terminal:
    """A command on a terminal of its own, and what it shows."""

    def __init__(self, shell: Shell, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.text = ""
        self._ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=shell.folder,
            env=shell.environment({"TERM": "xterm", "COLUMNS": "150", **(env or {})}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < end, self.text
            assert self._read() or text in self.text, self.text

    def answer(self, text: str) -> None:
        os.write(self._ours, f"{text}\n".encode())

    def end(self) -> int:
        end = time.monotonic() + 30
        while self._read() and time.monotonic() < end:
            pass
        return self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """Whether there may be more."""
        if select.select([self._ours], [], [], 0.1)[0]:
            try:
                data = os.read(self._ours, 4096)
            except OSError:  # the other side was closed
                return False
            self.text += data.decode()
            return bool(data)
        return True


@contextmanager
def nobody_writes(shell: Shell) -> Iterator[None]:
    with closing(sqlite3.connect(shell.folder / "longboat.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_ctrl_c_ends_it_between_two_calls_and_says_how_far_it_came(shell: Shell) -> None:
    with Longboat(shell.url) as app:
        app.named("tasks.add").using(queue="many").enqueue_many([(1, n) for n in range(2000)])
    with closing(Terminal(shell, "jobs", "cancel", "queue:many")) as terminal:
        terminal.wait_for("This will cancel 2,000 unfinished jobs. Continue? [y/N]:")
        with nobody_writes(shell):
            terminal.answer("y")
            terminal.wait_for("Cancelled")
            terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        (number,) = re.findall(r"stopped: cancelled (\d+) of 2,000 unfinished jobs", terminal.text)
    with Longboat(shell.url) as app:
        found = app.broker.inspector.counts()
    assert found["many", State.READY] == 2000 - int(number) >= 1800


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_progress_is_drawn_on_a_terminal(shell: Shell, rich: bool) -> None:
    if not rich:
        (shell.folder / "without").mkdir()
        (shell.folder / "without" / "rich.py").write_text("raise ImportError\n")
    env = {} if rich else {"PYTHONPATH": f"{shell.folder}/without"}
    with closing(Terminal(shell, "jobs", "move", "queue:mail", "--to-queue", "other", "--yes", env=env)) as terminal:
        assert terminal.end() == 0
        assert "4/4" in terminal.text
        assert ("━" if rich else "####") in terminal.text
        assert "moved 4 jobs to queue other" in terminal.text


def test_a_no_changes_nothing(shell: Shell) -> None:
    text, status = shell.on_terminal("jobs", "discard", "state:dead", answer="n")
    assert "This will delete 3 jobs (3 dead). Continue? [y/N]: n\n" in text
    assert "Error: nothing was changed\n" in text
    assert status == 1
    assert sum(counts(shell).values()) == 6
