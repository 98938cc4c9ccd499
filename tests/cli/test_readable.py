"""What commands show on a terminal: short ids, columns that fit, colours, and what a mistyped command was meant to be.

The commands run in this process, on a store of their own.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longboat import Longboat, current, group
from longboat.cli import logs, waiting
from longboat.cli.ids import short
from longboat.cli.main import run
from longboat.cli.table import fitted, width_of
from longboat.contract.broker import Settlement
from longboat.core.job import Dead, Failure, State
from longboat.operate.search import Query
from tests.rigs.cli import Done
from tests.rigs.fault import until

Command = Callable[..., Done]
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Longboat]:
    with Longboat(f"sqlite:///{tmp_path}/longboat.db") as made:
        monkeypatch.setenv("LONGBOAT_URL", made.url)
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        yield made


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def call(*arguments: str, status: int = 0, columns: int = 0) -> Done:
        with monkeypatch.context() as patched:
            if columns:
                patched.setattr(sys.stdout, "isatty", lambda: True)
                patched.setenv("COLUMNS", str(columns))
            found = run(arguments)
        done = Done(*capsys.readouterr())
        assert found == status, (arguments, done)
        return done

    return call


def enqueued(app: Longboat, task: str, count: int = 1, queue: str = "default") -> list[str]:
    return [handle.id for handle in app.named(task).using(queue=queue).enqueue_many([(n,) for n in range(count)])]


def died(app: Longboat, message: str) -> str:
    """The id of a job that is dead."""
    (job_id,) = enqueued(app, "mail.send_the_weekly_newsletter", queue="newsletters")
    consumer = app.broker.consumer(["newsletters"], lease=60.0)
    (lease,) = consumer.receive(1, wait=10.0)
    consumer.settle([Settlement(lease, Dead(Failure("shop.mail.MailboxFull", message)))])
    consumer.close()
    return job_id


def test_a_short_id_means_the_job_in_every_command(app: Longboat, command: Command) -> None:
    job_id = died(app, "no room")
    part = short(job_id)
    assert len(part) == 12
    for arguments in (["jobs", "show", part], ["dead", "show", part], ["explain", part, "--json"], ["jobs", f"id:{part}"]):
        assert job_id in command(*arguments).out, arguments
    assert f"job {job_id} (mail.send_the_weekly_newsletter) is dead" in command("result", part, status=1).err
    assert command("dead", "retry", part, "--yes").out == "retried 1 dead job\n"
    assert command("cancel", part).out == f"{job_id}  cancelled\n"
    assert command("jobs", "show", job_id[:20]).out == command("jobs", "show", job_id).out


def test_a_part_of_several_ids_is_refused_with_the_ids(app: Longboat, command: Command) -> None:
    ids = enqueued(app, "tasks.add", 2)
    done = command("cancel", ids[0][:8], status=2)
    assert all(job_id in done.err for job_id in ids)
    assert done.err.endswith("\nGive more of the id.\n")
    assert command("cancel", "0123456789ab", status=1).out == "0123456789ab  unknown\n"
    own = ids[0][:8]
    app.named("tasks.add").using(id=own).enqueue(1)
    assert command("cancel", own).out == f"{own}  cancelled\n"  # an id that is whole is no part


def test_a_flow_is_meant_by_a_part_of_its_id(app: Longboat, command: Command) -> None:
    add = app.named("tasks.add")
    group(add.s(1), add.s(2)).enqueue()
    (flow_id,) = [line.split()[0] for line in command("flows", "list").out.splitlines()[1:]]
    assert command("flows", "show", short(flow_id), "--json").out.count('"task":"tasks.add"') == 2
    assert command("flows", "cancel", short(flow_id)).out == "cancelled 2 jobs\n"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lists_fit_the_terminal_and_are_whole_in_a_pipe(columns: int, app: Longboat, command: Command) -> None:
    job_id = died(app, "the mailbox of the recipient has had no room since Tuesday")
    enqueued(app, "mail.send_the_weekly_newsletter", 3)
    for arguments in (["jobs"], ["jobs", "list"], ["dead", "list"], ["queues"], ["queues", "list"]):
        lines = COLOUR.sub("", command(*arguments, columns=columns).out).splitlines()
        assert max(map(len, lines)) <= columns, lines
        assert len(lines) == (5 if arguments[0] == "jobs" else 2 if arguments[0] == "dead" else 3)
    shown = COLOUR.sub("", command("dead", "list", columns=80).out)
    assert short(job_id) in shown
    assert job_id not in shown
    assert "shop.mail.MailboxFull: t" in shown
    header, row = command("dead", "list").out.splitlines()
    assert header.split() == ["id", "state", "queue", "task", "attempts", "age", "detail"]
    assert row.startswith(job_id)
    assert row.endswith("since Tuesday")


def test_states_are_in_colour_on_a_terminal_only(app: Longboat, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    died(app, "no room")
    assert "\x1b[31mdead\x1b[0m" in command("jobs", columns=80).out
    assert "\x1b[31m1\x1b[0m" in command("queues", columns=80).out
    for arguments in (["--no-color", "jobs"], ["jobs", "--no-color"], ["queues", "list", "--no-color"]):
        assert "\x1b" not in command(*arguments, columns=80).out
    assert "\x1b" not in command("jobs").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in command("jobs", columns=80).out


def test_columns_are_dropped_before_any_is_cut() -> None:
    headers, rows = (
        ["id", "queue", "task", "detail"],
        [["0" * 12, "mail", "mail.send", "x" * 40], ["1" * 12, "", "t", "日本"]],
    )
    assert fitted(headers, rows, 100) == (headers, rows)
    shown, cells = fitted(headers, rows, 52, ["queue"])
    assert (shown, cells[0][-1]) == (["id", "task", "detail"], "x" * 26 + "…")
    shown, cells = fitted(headers, rows, 30, ["queue", "task"])
    assert (shown, cells) == (["id", "detail"], [["0" * 12, "x" * 15 + "…"], ["1" * 12, "日本"]])
    for width in range(20, 100):
        _, cells = fitted(headers, rows, width, ["queue", "task"])
        assert max(sum(map(width_of, row)) + 2 * (len(row) - 1) for row in cells) <= width


@pytest.mark.parametrize(
    ("typed", "word", "meant"),
    [
        ("jbos", "jbos", "jobs"),
        ("list", "list", "jobs list"),
        ("retry x", "retry", "jobs retry"),
        ("stop", "stop", "workers stop"),
        ("schedules lst", "lst", "list"),
        ("flows shwo x", "shwo", "show"),
        ("dead retyr", "retyr", "retry"),
        ("jobs lsit", "lsit", "list"),
        ("queues lst", "lst", "list"),
        ("workers quit", "quit", "quiet"),
    ],
)
def test_a_mistyped_command_is_told_what_it_was_meant_to_be(typed: str, word: str, meant: str, command: Command) -> None:
    assert f"no such command {word!r}; did you mean {meant!r}?" in command(*typed.split(), status=2).err


def test_jobs_has_the_verbs_of_other_groups(app: Longboat, command: Command) -> None:
    mail, other = enqueued(app, "mail.send")[0], enqueued(app, "other.task", queue="other")[0]
    assert command("jobs", "list", "--json").out == command("jobs", "--json").out
    assert other not in command("jobs", "list", "queue:default").out
    assert mail not in command("jobs", "list", "--queue", "other", "--state", "ready").out
    assert other in command("jobs", "--queue", "other", "list").out
    assert mail not in command("jobs", "--queue", "other", "list").out
    assert command("jobs", "cancel", mail, "--yes").out == "cancelled 1 unfinished job\n"
    assert command("workers", "list").out == command("workers").out == "no workers\n"
    assert command("queues", "list", "other").out == command("queues", "other").out
    enqueued(app, "list.everything")
    assert "list.everything" in command("jobs", "--", "list").out


def test_the_next_page_has_a_short_name(app: Longboat, command: Command) -> None:
    ids = enqueued(app, "tasks.add", 5)
    done = command("jobs", "list", "--limit", "2")
    seen = done.out.splitlines()[1:]
    while found := re.search(r"--after (\w{5})$", done.err.strip()):
        done = command("jobs", "list", "--limit", "2", "--after", found[1])
        seen += done.out.splitlines()[1:]
    assert [line.split()[0] for line in seen] == ids
    assert "no such page" in command("jobs", "--after", "12345", status=2).err


LOOKING = """
queues | queues list x | jobs | jobs list | jobs show x | dead list | dead show x | result x | result x --wait | explain x
workers | workers list | top --once | top --json | events | flows list | flows show x | schedules list | pause | migrate
dashboard --port 0 --wait-for-broker 0
cancel x | purge --yes | dead retry --all --yes | dead purge --all --yes | jobs retry state:dead --yes | flows cancel x
pause --queue x | resume --queue x | workers stop x --yes | schedules run x
move sqlite:///missing.db sqlite:///other.db --yes
"""


@pytest.mark.parametrize("words", re.split(r" \| |\n", LOOKING.strip()))
def test_no_file_yet_is_said_and_none_is_made(
    words: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LONGBOAT_URL", "sqlite:///missing.db")
    done = command(*words.split(), status=4)
    assert f"Error: there is no file {folder}/missing.db yet" in done.err
    assert "\nThe first job creates it." in done.err
    assert list(folder.iterdir()) == []


def test_a_dry_run_of_move_makes_no_file(app: Longboat, command: Command, tmp_path: Path) -> None:
    enqueued(app, "tasks.add", 3)
    done = command("move", app.url, f"sqlite:///{tmp_path}/other.db", "--dry-run")
    assert done.out.startswith("would move 3 jobs (3 ready) to sqlite:///")
    assert not list(tmp_path.glob("other*"))


class Speech:
    """A task that logs a line, waits until it is let go, and logs another; and a worker that runs it."""

    def __init__(self, app: Longboat) -> None:
        self.let_go = threading.Event()

        @app.task(name="tasks.speak")
        def speak(what: str) -> None:
            logging.getLogger("speech").warning("%s begins", what)
            assert self.let_go.wait(60)
            logging.getLogger("speech").error("%s ends\nwell", what)

        self.task = speak


@pytest.mark.slow  # last lines are waited for after a job's end
@pytest.mark.usefixtures("brisk")
def test_the_log_of_a_job_is_followed_to_its_end(app: Longboat, command: Command) -> None:
    speech = Speech(app)
    with app.worker():
        job = speech.task.enqueue("one")

        def let_go() -> None:
            until(job.logs, 30)
            speech.let_go.set()

        threading.Thread(target=let_go).start()
        followed = command("logs", short(job.id), "-f").out.splitlines()
    assert [line[30:] or line for line in followed] == ["WARNING: one begins", "ERROR: one ends", "  well"]
    assert command("logs", job.id).out.splitlines() == followed
    (first, _) = command("logs", "--task", "tasks.s*", "--json").out.splitlines()
    assert f'"level":"WARNING","job":"{job.id}","task":"tasks.speak","attempt":1,"text":"one begins"' in first
    shown = command("logs", "--queue", "default", columns=80).out
    assert f"\x1b[31mERROR\x1b[0m tasks.speak [{short(job.id)}]: one ends\n  well\n" in shown
    assert command("logs", "--queue", "other").out == "no lines\n"
    assert "either a job" in command("logs", job.id, "--task", "x", status=2).err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("brisk")
def test_a_terminal_shows_how_far_a_job_is_that_is_waited_for(
    app: Longboat, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, let_go = Terminal(), threading.Event()
    monkeypatch.setattr(waiting, "DRAWN", 0.0)
    monkeypatch.setattr(waiting, "TOLD", 0.0)
    monkeypatch.setenv("COLUMNS", "100")

    @app.task(name="tasks.slow")
    def slow() -> str:
        current().progress(3, 4, "nearly there")
        assert let_go.wait(60)
        return "done"

    job = slow.enqueue()

    def work() -> None:
        until(lambda: "no living worker serves queue default" in shown.getvalue(), 30, shown.getvalue)
        with app.worker():
            until(lambda: "[###############-----] 3 of 4 nearly there" in shown.getvalue(), 30, shown.getvalue)
            let_go.set()
            until(lambda: job.status().ended, 30)

    thread = threading.Thread(target=work)
    thread.start()
    monkeypatch.setattr(sys, "stderr", shown)
    assert command("result", job.id, "--wait").out == "done\n"
    thread.join()
    assert shown.getvalue().startswith("\r\x1b[Kready, ")
    assert shown.getvalue().endswith("\r\x1b[K")


@pytest.mark.usefixtures("brisk")
def test_the_logs_of_a_queue_are_followed(app: Longboat) -> None:
    speech = Speech(app)
    with app.worker():
        speech.task.enqueue("not this")
        there = speech.task.using(queue="other").enqueue("running")
        until(lambda: there.status() is State.RUNNING, 30)
        said = logs.followed(app.broker, Query(queue="oth*"))
        assert next(said).line.text == "running begins"
        later = speech.task.using(queue="other").enqueue("later")
        assert next(said)[0] == later.id
        speech.let_go.set()
        assert {next(said).line.text for _ in range(2)} == {"running ends\nwell", "later ends\nwell"}
