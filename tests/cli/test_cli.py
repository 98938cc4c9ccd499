"""The command line as such: how fast it is there, its help, its errors and exit statuses."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from longboat import __version__
from longboat.cli.main import COMMANDS, run
from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


HEAVY = ("asyncio", "sqlite3", "multiprocessing", "rich", "tomllib", "json")

EVERY = [
    *([name] for name in COMMANDS),
    *(["deploy", verb] for verb in ("mark", "list")),
    *(["dead", verb] for verb in ("list", "show", "retry", "purge")),
    *(["jobs", verb] for verb in ("list", "show", "retry", "cancel", "discard", "move")),
    ["queues", "list"],
    *(["workers", verb] for verb in ("list", "quiet", "resume", "stop", "stack")),
    *(["flows", verb] for verb in ("list", "show", "cancel")),
    *(["schedules", verb] for verb in ("list", "add", "pause", "resume", "run", "remove")),
]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["worker", "--help"], ["dead", "--help"]])
@pytest.mark.usefixtures("unmeasured")
def test_help_imports_nothing_heavy(arguments: list[str], shell: Shell) -> None:
    code = (
        "import sys\nfrom longboat.cli.main import main\n"
        f"try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\nassert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=shell.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: longboat" in done.stdout


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_each_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(command, capsys)
    assert text.startswith(f"Usage: longboat {' '.join(command)} ")
    assert len(text.splitlines()) > 4
    options = re.findall(r"^  (-.*?)(?:  +(\S.*))?\n(?: {8,}(\S.*))?", text.partition("\nOptions:\n")[2], re.M)
    assert options
    assert [option for option, beside, below in options if not (beside or below)] == [], "options without a word"


def helped(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run([*command, "--help"]) == 0
    return capsys.readouterr().out


def test_every_command_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    text = helped([], capsys)
    for name, words in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(words)}$", text, re.M), name


ONCE = ("--help", "--reason")
"""What the page says once of all commands."""


def test_the_page_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parent.parent.parent.joinpath("docs", "cli.md").read_text()
    for command in EVERY:
        text = helped(command, capsys)
        options = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text.partition("\nOptions:\n")[2], re.M)
        (section,) = re.findall(rf"^## [^\n]*\b{command[0]}\b[^\n]*\n.*?(?=^## |\Z)", page, re.M | re.S)
        missing = [option for option in options if option not in section and option not in ONCE]
        assert missing == [], command
        assert f"longboat {' '.join(command)}" in section


def test_the_installed_script_is_the_same_command(shell: Shell) -> None:
    script = Path(sysconfig.get_path("scripts"), "longboat")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == shell.run("--version").out == f"longboat {__version__}\n"
    assert shell.run("--version", env={"LONGBOAT_VERSION": "9"}).out == done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nope"], "nope"),
        (["worker", "--concurrency", "0"], "concurrency"),
        (["worker", "--workers", "few"], "few"),
        (["worker", "--max-memory", "much"], "much"),
        (["worker", "--grace", "soon"], "soon"),
        (["worker", "--queues", "a,,b"], "queue"),
        (["worker", "--lease", "0.5"], "lease"),
        (["worker", "--nope"], "--nope"),
        (["enqueue"], "TASK"),
        (["enqueue", "tasks.add", "1", "--args", "[2]"], "not both"),
        (["enqueue", "tasks.add", "--args", "{}"], "list"),
        (["enqueue", "tasks.add", "--kwargs", "[]"], "map"),
        (["enqueue", "tasks.add", "1", "2", "--queue", "a,b"], "comma"),
        (["enqueue", "tasks.add", "1", "2", "--timeout", "5s"], "--wait"),
        (["jobs", "--state", "failed"], "failed"),
        (["jobs", "state:failed"], "failed"),
        (["jobs", "state:dead", "--state", "ready"], "state:dead"),
        (["jobs", "queue:a", "--queue", "b"], "queue:a"),
        (["jobs", "retry"], "QUERY"),
        (["jobs", "retry", "state:ready"], "ready"),
        (["jobs", "discard", "state:succeeded"], "succeeded"),
        (["jobs", "--queue", "a", "discard", "x"], "--queue"),
        (["jobs", "move", "queue:a"], "--to-queue"),
        (["jobs", "move", "queue:a", "--to-queue", "b,c"], "comma"),
        (["dead", "list", "state:ready"], "dead"),
        (["queues", "task:x"], "queue:, state:"),
        (["workers", "state:dead"], "queue:, task:, worker:"),
        (["schedules", "list", "worker:x"], "queue:, task:"),
        (["flows", "list", "error:x"], "flow:, task:, state:"),
        (["purge", "--state", "running"], "running"),
        (["dead", "retry"], "--all"),
        (["dead", "retry", "x", "--all"], "--all"),
        (["dead", "purge"], "--all"),
        (["dead", "purge", "x", "--queue", "a"], "--all"),
        (["cancel"], "ID"),
        (["completion", "csh"], "csh"),
        (["queues", "--url", "memory://"], "memory://"),
        (["enqueue", "tasks.add", "1", "2", "--url", "memory://"], "memory://"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_two_lines_and_status_2(arguments: list[str], word: str, shell: Shell) -> None:
    assert word in shell.fails(*arguments, status=2).err.splitlines()[0]
    assert not Path(shell.folder, "longboat.db").exists()


def test_a_variable_stands_for_an_option(shell: Shell) -> None:
    assert "LONGBOAT_WORKER_CONCURRENCY" in shell.run("worker", "--help").out
    shell.fails("worker", "--burst", status=2, env={"LONGBOAT_WORKER_CONCURRENCY": "none"})
    shell.fails("dead", "list", status=2, env={"LONGBOAT_DEAD_LIST_LIMIT": "none"})
    shell.run("enqueue", "tasks.add", "1", "2")
    text = shell.run("worker", env={"LONGBOAT_WORKER_BURST": "1", "LONGBOAT_WORKER_QUEUES": "high,default"}).err
    assert "serves high, default of" in text


def test_a_file_that_is_no_store_is_status_4(shell: Shell) -> None:
    Path(shell.folder, "notes.db").write_text("no database at all, just some text " * 100)
    assert "notes.db" in shell.fails("queues", "--url", "sqlite:///notes.db", status=4).err


def test_a_folder_that_is_missing_is_status_3(shell: Shell) -> None:
    for command in (["worker"], ["enqueue", "tasks.add", "1", "2"]):
        done = shell.fails(*command, status=3, env={"LONGBOAT_URL": "sqlite:///missing/jobs.db"})
        assert "cannot open" in done.err
        assert "later" not in done.err


@pytest.mark.parametrize("url", ["redis//x", "ftp://x", "sqlite://x", "sqlite:///a.db?colour=red"])
def test_a_wrong_url_is_status_3(url: str, shell: Shell) -> None:
    shell.fails("queues", "--url", url, status=3)


def test_passwords_are_not_shown(shell: Shell) -> None:
    done = shell.run("doctor", status=5, env={"LONGBOAT_URL": "redis://me:secret@host/0", "LONGBOAT_AUTHKEY": "secret"})
    assert "secret" not in done.out + done.err
    assert "redis://me:***@host/0" in done.out


def test_interrupted_is_130_and_quiet(shell: Shell) -> None:
    shell.run("enqueue", "tasks.add", "1", "2", "--id", "lonely")
    with shell.start("result", "lonely", "--wait") as waiting:
        bells = Path(shell.folder, "longboat.db-wake")
        end = time.monotonic() + 20
        while not (bells.is_dir() and list(bells.glob("l-*"))) and time.monotonic() < end:
            time.sleep(0.01)  # other processes give no event to wait for
        waiting.send_signal(signal.SIGINT)
        text, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, text) == (130, "")


def test_a_reader_that_has_enough_is_no_error(shell: Shell) -> None:
    for _ in range(3):
        shell.run("enqueue", "tasks.add", "1", "2")
    command = f"{sys.executable} -m longboat jobs --json | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=shell.folder, env=shell.environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_completion(kind: str, shell: Shell) -> None:
    assert "_LONGBOAT_COMPLETE" in shell.run("completion", kind).out
    line = {
        "_LONGBOAT_COMPLETE": f"{kind}_complete",
        "COMP_WORDS": "longboat dead re",
        "COMP_CWORD": "2" if kind != "fish" else "re",
    }
    assert "retry" in shell.run(env=line).out


def test_bench_gives_its_figures(shell: Shell) -> None:
    text = shell.run("bench", "--jobs", "500").out
    assert [line.split()[0] for line in text.splitlines()] == ["500", "put", "drained", "round"]
    assert all(float(number.replace(",", "")) > 0 for number in re.findall(r" ([\d,.]+) (?:jobs/s|ms)", text))
    assert sorted(path.name for path in shell.folder.iterdir()) == ["tasks.py"]
