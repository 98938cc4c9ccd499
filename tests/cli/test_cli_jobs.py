"""Enqueueing, looking at jobs and changing them from the command line, with a real worker."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from longboat.cli.ids import short
from longboat.core.job import State
from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


def lines(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.run(*arguments, "--json").out.splitlines()]


def counts(shell: Shell) -> dict[str, int]:
    """Of all queues together, those above 0."""
    totals: dict[str, int] = {}
    for queue in lines(shell, "queues"):
        for state, number in queue.items():
            if state in list(State) and number:
                totals[state] = totals.get(state, 0) + number
    return totals


def test_enqueue_work_result(shell: Shell) -> None:
    added = shell.run("enqueue", "tasks.add", "2", "3").out.strip()
    greeted = shell.run("enqueue", "tasks.greet", "--kwargs", '{"name": "you"}').out.strip()
    text = shell.run("enqueue", "tasks.greet", '"5"').out.strip()
    negative = shell.run("enqueue", "tasks.add", "--", "-2", "-3").out.strip()
    listed = shell.run("enqueue", "tasks.add", "--args", "[20, 30]").out.strip()
    assert "has not ended: it is ready" in shell.fails("result", added, status=6).err
    shell.run("worker", "--burst")
    results = [shell.run("result", job).out for job in (added, greeted, text, negative, listed)]
    assert results == ["5\n", "hello you\n", "hello 5\n", "-5\n", "50\n"]
    (document,) = lines(shell, "result", added)
    assert (document["state"], document["result"], document["args"]) == ("succeeded", 5, {"a": 2, "b": 3})


def test_wait(shell: Shell) -> None:
    with shell.start("worker") as worker:
        assert shell.run("enqueue", "tasks.add", "2", "3", "--wait", "--timeout", "30s").out == "5\n"
        done = shell.fails("enqueue", "tasks.boom", "two\nlines", "--wait", status=1)
        assert "ValueError: two lines" in done.err.splitlines()[0]
        job_id = shell.run("enqueue", "tasks.sleep", "0.3").out.strip()
        assert shell.run("result", job_id, "--wait").out == "null\n"
        worker.terminate()
        worker.communicate(timeout=30)
    assert worker.returncode == 0
    shell.fails("enqueue", "tasks.add", "2", "3", "--wait", "--timeout", "0.1", status=6)
    late = shell.run("enqueue", "tasks.sleep", "1", "--wait", "--timeout", "2.2", status=6).err.splitlines()
    why = f"no living worker serves queue slow at {shell.url}"
    assert late[0] == f"Waiting: {why}."
    assert late[1].endswith(f"has not ended within 2.2 s: {why}")
    shell.fails("result", "nobody", status=1)


EXPECTED = "argument 'name': Expected `str`, got `int`"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tasks.greet", "5"], [EXPECTED, "5 was read as JSON, so it is a number", """'"5"'"""]),
        (["tasks.greet", "--kwargs", '{"name": 5}'], [EXPECTED, "quote it twice"]),
        (["tasks.greet", "name=5"], ["'name=5' would be passed by position", """ '{"name":"5"}'""", """ '["name=5"]'"""]),
        (["tasks.add", "a=1", "2"], ["'a=1' would be passed by position", """--kwargs '{"a":1}'"""]),
        (["tasks.add", "1", "x"], ["argument 'b': Expected `int`, got `str`", "x was read as text, because it is no JSON"]),
    ],
)
def test_an_argument_that_does_not_fit_is_told_with_how_to_write_it(given: list[str], said: list[str], shell: Shell) -> None:
    err = shell.fails("enqueue", *given, status=2).err
    assert len(err.splitlines()) == 2
    assert not [each for each in said if each not in err], err


def test_the_options_of_enqueue(shell: Shell) -> None:
    options = ["--queue", "mail", "--priority", "7", "--delay", "1h", "--id", "mine", "--expires", "2h"]
    assert shell.run("enqueue", "tasks.add", "1", "2", *options).out == "mine\n"
    again = shell.run("enqueue", "tasks.add", "3", "4", "--id", "mine")
    assert again.out == "mine\n"
    assert "exists already" in again.err
    (job,) = lines(shell, "jobs")
    assert (job["queue"], job["priority"], job["state"], job["args"]) == ("mail", 7, "scheduled", {"a": 1, "b": 2})
    assert 3590 < job["due"] - job["enqueued"] < 3610
    shell.run("enqueue", "tasks.sleep", "0")
    assert {queue["queue"] for queue in lines(shell, "queues")} == {"mail", "slow"}  # the task's own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tasks.add", "1"], "'b'"),
        (["tasks.add", "1", "x"], "argument 'b'"),
    ],
)
def test_arguments_are_checked_by_the_app(arguments: list[str], said: str, shell: Shell) -> None:
    assert said in shell.fails("enqueue", *arguments, status=2).err
    assert not Path(shell.folder, "longboat.db").exists()


def test_a_task_that_neither_the_app_nor_a_worker_has_is_refused(shell: Shell) -> None:
    err = shell.fails("enqueue", "tasks.ad", "1", "2", status=2).err
    assert "the app has no task 'tasks.ad', and no worker has told of one" in err
    assert "tasks.add" in err


def test_a_task_of_another_program_goes_by_what_its_worker_has_told(shell: Shell) -> None:
    Path(shell.folder, "side.py").write_text(
        "from longboat import Limit, Longboat\n\napp = Longboat('sqlite:///longboat.db')\n\n\n"
        "@app.task(queue='side', priority=3, limit=Limit(key='{n}', running=1))\ndef side(n: int) -> int:\n    return n\n"
    )
    said = shell.run("enqueue", "side.side", "1", "--url", "sqlite:///longboat.db").err
    assert "no worker has told of this task" in said
    shell.run("worker", "side", "--burst")
    for where in ([], ["--url", "sqlite:///longboat.db"]):
        done = shell.run("enqueue", "side.side", "7", *where)
        assert done.err == ""
        shown = json.loads(shell.run("jobs", "show", done.out.strip(), "--json", "--url", "sqlite:///longboat.db").out)
        assert (shown["queue"], shown["priority"]) == ("side", 3)
        assert "side.side:7" in json.dumps(shown)


def test_a_task_goes_by_name_without_the_app(shell: Shell, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    job_id = shell.run("enqueue", "tasks.add", "2", "3", env={"LONGBOAT_URL": shell.url}, folder=elsewhere).out.strip()
    assert lines(shell, "jobs")[0]["args"] == {"*": [2, 3]}
    shell.run("worker", "--burst")
    assert shell.run("result", job_id, "--url", shell.url, folder=elsewhere).out == "5\n"
    assert list(elsewhere.iterdir()) == []


def dead(shell: Shell) -> list[str]:
    """Three dead jobs, of two tasks and two queues; their ids."""
    ids = [
        shell.run("enqueue", "tasks.boom", "one").out.strip(),
        shell.run("enqueue", "tasks.boom", "two", "--queue", "mail").out.strip(),
        shell.run("enqueue", "tasks.greet", "5", "--url", "sqlite:///longboat.db").out.strip(),  # not checked here
    ]
    shell.run("worker", "--burst")
    assert counts(shell) == {"dead": 3}
    return ids


def test_dead_jobs_are_listed_and_shown(shell: Shell) -> None:
    one, two, greet = dead(shell)
    assert {job["id"] for job in lines(shell, "dead", "list")} == {one, two, greet}
    assert [job["id"] for job in lines(shell, "dead", "list", "--queue", "mail")] == [two]
    assert [job["id"] for job in lines(shell, "dead", "list", "--task", "tasks.greet")] == [greet]
    ran = shell.run("jobs", "after:2020-01-01", "state:dead", "--json")
    assert (len(ran.out.splitlines()), ran.err.startswith("These jobs ran from 2020-01-01 00:00:00")) == (3, True)
    assert "no deploy is known" in shell.run("failures", "--since-deploy", status=1).err
    assert json.loads(shell.run("deploy", "mark", "v1.2", "--json").out)["version"] == "v1.2"
    assert "no failures" in shell.run("failures", "--since-deploy").out
    assert "v1.2" in shell.run("deploy", "list").out
    failed, _ = lines(shell, "failures", "task:tasks.boom", "--sort", "count")
    assert (failed["since_deploy"], failed["new"]) == (0, False)
    assert failed["fingerprint"] in shell.run("failures").out
    assert "at: 'noon' is not a time such as 03:12" in shell.run("jobs", "at:noon", status=2).err
    text = shell.run("dead", "show", one).out
    assert re.search(r"^args: +\{\"text\":\"one\"\}$", text, re.M)
    assert "ValueError: one" in text
    assert "    raise ValueError(text)" in text
    (document,) = lines(shell, "dead", "show", one)
    assert [failure["type"] for failure in document["failures"]] == ["ValueError"]
    done = shell.fails("result", one, status=1)
    assert "is dead after 1 attempt: ValueError: one" in done.err
    assert json.loads(shell.run("result", one, "--json", status=1).out)["state"] == "dead"
    shell.run("enqueue", "tasks.add", "1", "2", "--id", "alive")
    assert "not dead but" not in shell.fails("dead", "show", "alive", status=1).err
    shell.fails("dead", "show", "nobody", status=1)


def test_dead_jobs_are_retried(shell: Shell) -> None:
    one, two, _ = dead(shell)
    said = shell.run("dead", "retry", "--all", "--dry-run").out.splitlines()
    assert said[0] == "would retry 3 dead jobs; nothing was changed"
    assert [line.split() for line in said[2:]] == [["dead", "tasks.boom", "2"], ["dead", "tasks.greet", "1"]]
    assert "no terminal" in shell.fails("dead", "retry", "--all", status=2).err
    assert counts(shell) == {"dead": 3}
    assert shell.run("dead", "retry", "--task", "tasks.boom", "--queue", "mail", "--yes").out == "retried 1 dead job\n"
    assert lines(shell, "jobs", "--state", "ready")[0]["id"] == two
    done = shell.run("dead", "retry", one, "nobody", "--yes", status=1)
    assert (done.out, done.err) == ("retried 1 dead job\n", "1 of the 2 ids: no such dead job\n")
    assert counts(shell) == {"dead": 1, "ready": 2}
    assert shell.run("dead", "retry", "--all", "--yes").out == "retried 1 dead job\n"
    assert shell.run("dead", "retry", "--all", "--yes").out == "no such jobs\n"


def test_dead_jobs_are_purged(shell: Shell) -> None:
    dead(shell)
    shell.run("enqueue", "tasks.add", "1", "2", "--queue", "mail")
    assert shell.run("dead", "purge", "--queue", "mail", "--yes").out == "deleted 1 job\n"
    assert counts(shell) == {"dead": 2, "ready": 1}
    assert shell.run("dead", "purge", "--all", "--dry-run").out == "would delete 2 jobs (2 dead); nothing was changed\n"
    assert shell.run("dead", "purge", "--all", "--yes").out == "deleted 2 jobs\n"
    assert counts(shell) == {"ready": 1}


def test_a_person_is_asked(shell: Shell) -> None:
    dead(shell)
    text, status = shell.on_terminal("purge", answer="n")
    assert "This will delete 3 jobs (3 dead). Continue? [y/N]: n\n" in text
    assert "Error: nothing was changed\n" in text
    assert status == 1
    text, status = shell.on_terminal("purge", answer="y")
    assert "deleted 3 jobs" in text
    assert status == 0
    assert counts(shell) == {}


def test_purge_by_state_and_queue(shell: Shell) -> None:
    with Longboat(shell.url) as app:
        app.named("tasks.add").using(queue="bulk").enqueue_many([(1, 2)] * 2500)
        app.named("tasks.add").using(queue="bulk", delay="1h").enqueue(1, 2)
        app.send("tasks.add", 1, 2)
    done = shell.run("purge", "--queue", "bulk", "--dry-run")
    assert done.out == "would delete 2,501 jobs (1 scheduled, 2,500 ready); nothing was changed\n"
    assert shell.run("purge", "--queue", "bulk", "--state", "ready", "--yes").out == "deleted 2,500 jobs\n"
    assert counts(shell) == {"ready": 1, "scheduled": 1}
    assert shell.run("purge", "--state", "ready", "--state", "scheduled", "--yes").out == "deleted 2 jobs\n"
    assert shell.run("queues").out == "no jobs\n"
    assert shell.run("jobs").out == "no jobs\n"


def test_cancel(shell: Shell) -> None:
    for name in ("one", "two"):
        shell.run("enqueue", "tasks.add", "1", "2", "--id", name)
    assert shell.run("cancel", "one", "two").out == "one  cancelled\ntwo  cancelled\n"
    done = shell.run("cancel", "one", "nobody", status=1)
    assert done.out == "one  had ended: cancelled\nnobody  unknown\n"
    assert "was cancelled" in shell.fails("result", "one", status=1).err


def test_pages(shell: Shell) -> None:
    with Longboat(shell.url) as app:
        ids = [handle.id for handle in app.named("tasks.add").enqueue_many([(1, n) for n in range(1203)])]
    assert [job["id"] for job in lines(shell, "jobs", "--limit", "100000")] == ids
    first = lines(shell, "jobs", "--state", "ready", "--limit", "1100")
    assert [job["id"] for job in first[:-1]] == ids[:1100]
    rest = lines(shell, "jobs", "--state", "ready", "--limit", "1000", "--after", first[-1]["after"])
    assert [job["id"] for job in rest] == ids[1100:]
    shell.fails("jobs", "--state", "ready", "--after", "ready:nonsense", status=3)


def test_tables_are_plain_in_a_pipe_and_drawn_on_a_terminal(shell: Shell) -> None:
    job_id = shell.run("enqueue", "tasks.add", "1", "2").out.strip()
    text = shell.run("jobs").out
    assert "\x1b" not in text
    header, row = text.splitlines()
    assert header.split() == ["id", "state", "queue", "task", "attempts", "age", "detail"]
    assert row.split()[:5] == [job_id, "ready", "default", "tasks.add", "0"]
    assert header.index("state") == row.index("ready")
    shown, status = shell.on_terminal("jobs")
    assert status == 0
    assert short(job_id) in shown
    assert "\x1b" in shown
    assert "\x1b" not in shell.on_terminal("jobs", env={"NO_COLOR": "1"})[0]


def test_hostile_text_commands_no_terminal(shell: Shell) -> None:
    shell.run("enqueue", "tasks.boom", "\x1b[2J\x1b]0;owned\x07 \u202e")
    shell.run("worker", "--burst")
    for arguments in (["jobs"], ["dead", "list"], ["dead", "show", lines(shell, "jobs")[0]["id"]]):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", shell.run(*arguments).out), arguments


def test_a_message_that_is_no_job_can_be_looked_at(shell: Shell) -> None:
    job_id = shell.run("enqueue", "tasks.add", "1", "2").out.strip()
    db = sqlite3.connect(shell.folder / "longboat.db")
    db.execute("UPDATE longboat_jobs SET message = ?", (b"\xff\x00garbage",))
    db.commit()
    db.close()
    shell.run("worker", "--burst")
    (job,) = lines(shell, "jobs")
    assert (job["state"], job["args"]) == ("dead", repr(b"\xff\x00garbage"))
    assert "longboat.Undecodable" in shell.run("dead", "show", job_id).out


def test_doctor(shell: Shell) -> None:
    fresh = json.loads(shell.run("doctor", "--json").out)
    assert fresh["healthy"] is True
    assert fresh["facts"]["file"] == {"path": f"{shell.folder}/longboat.db", "exists": False}
    assert not Path(shell.folder, "longboat.db").exists()
    dead(shell)
    shell.run("enqueue", "tasks.sleep", "0")
    Path(shell.folder, "longboat.db").chmod(0o644)
    found = json.loads(shell.run("doctor", "--json").out)
    facts = found["facts"]
    assert facts["url"] == {"url": f"sqlite:///{shell.folder}/longboat.db", "origin": "the app's"}
    assert facts["queues"] == {"default": {"dead": 2}, "mail": {"dead": 1}, "slow": {"ready": 1}}
    assert facts["schema"]["version"] == 4
    assert {"name": "tasks.sleep", "queue": "slow", "executor": "thread"} in facts["tasks"]
    said = " ".join(problem["what"] for problem in found["problems"])
    assert "3 jobs are dead" in said
    assert "no worker serves slow" in said
    assert "users other than its owner" in said
    assert found["healthy"] is True
    brief = shell.run("doctor", env={"LONGBOAT_URL": "sqlite:///longboat.db"}).out
    assert [line.split()[0] for line in brief.partition("\n\n")[0].splitlines()[:4]] == ["longboat", "app", "url", "file"]
    assert "LONGBOAT_URL=" not in brief
    whole = shell.run("doctor", "--verbose", env={"LONGBOAT_URL": "sqlite:///longboat.db"}).out
    assert set(brief.splitlines()) - set(whole.splitlines()) <= {
        line for line in brief.splitlines() if "answered in" in line
    }
    assert "sqlite:///longboat.db (LONGBOAT_URL)" in whole
    assert "LONGBOAT_URL=sqlite:///longboat.db" in whole
    assert "tasks.sleep (queue slow, thread)" in whole


def test_doctor_finds_what_is_serious(shell: Shell) -> None:
    assert "no directory" in shell.run("doctor", "--url", "sqlite:////no/such/place.db", status=5).out
    Path(shell.folder, "notes.db").write_text("no database at all, just some text " * 100)
    assert "PROBLEM" in shell.run("doctor", "--url", "sqlite:///notes.db", status=5).out
    Path(shell.folder, "tasks.py").write_text("import longboat, no_such_thing\n")
    done = shell.run("doctor", status=5)
    assert "No module named 'no_such_thing'" in done.out
    assert done.out.endswith("unhealthy\n")


def test_doctor_sees_workers_and_two_urls(shell: Shell) -> None:
    Path(shell.folder, "tasks.py").write_text(
        "from longboat import Longboat\napp = Longboat('sqlite:///mine.db')\n@app.task\ndef one() -> None: ...\n"
    )
    with shell.start("worker", "--queues", "a,b") as worker:
        assert worker.stdout is not None
        while "serves a, b" not in (line := worker.stdout.readline()):
            assert line, "the worker left"
        assert "a, b, 0 running" in shell.run("doctor").out
        worker.terminate()
        worker.communicate(timeout=30)
    assert "other.db (LONGBOAT_URL)" in shell.run("doctor", env={"LONGBOAT_URL": "sqlite:///other.db"}).out
    text = shell.run("doctor", "--url", "sqlite:///other.db").out
    assert f"the app uses sqlite:///{shell.folder}/mine.db, but this looks at sqlite:///other.db" in text
    assert "the app uses" not in shell.run("doctor", "--url", "sqlite:///mine.db").out
