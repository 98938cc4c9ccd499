"""Attempts of a job to forge a line of the log, to clear a terminal, or to break a log of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from longboat.core.text import escaped, escaped_json, escaped_lines
from tests.attacks.test_password_canary import PLACES, Place
from tests.rigs.cli import Shell

TASKS = """
import gc
import logging
import threading
import warnings
from longboat import Longboat, current

app = Longboat()
EVIL = "x\\n2026-01-01 00:00:00,000 INFO longboat.worker: FORGED\\r\\x1b[2J\\x9b2J\\u202eFORGED\\u2028FORGED"

class Loud:
    def __del__(self) -> None:
        raise ValueError(EVIL)

def attack() -> None:
    current().progress(1, 2, EVIL)
    logging.getLogger("shop").warning("%s", EVIL)
    try:
        raise KeyError(1) from ValueError(EVIL)
    except KeyError:
        logging.getLogger("shop").exception(EVIL)
    def end() -> None:
        raise ValueError(EVIL)
    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    warnings.warn(EVIL)
    Loud()
    gc.collect()
    raise ValueError(EVIL)

@app.task
async def coroutine() -> None:
    attack()

@app.task
def plain() -> None:
    attack()

@app.task(executor="process")
def process() -> None:
    attack()
"""
NAMES = ("coroutine", "plain", "process")


def worker_log(folder: Path, form: str) -> list[str]:
    (folder / "tasks.py").write_text(TASKS)
    shell = Shell(folder)
    for name in NAMES:
        shell.run("enqueue", f"tasks.{name}")
    said = shell.run("worker", "--burst", "--log-format", form, "--log-level", "debug", env={"PYTHONWARNINGS": "default"})
    return said.err.split("\n")


@pytest.mark.slow
def test_a_log_line_is_forged(tmp_path: Path) -> None:
    lines = worker_log(tmp_path, "text")
    assert sum("FORGED" in line for line in lines) > 15
    assert all(line.isprintable() for line in lines)
    begun = re.compile(r"\d{4}-\d\d-\d\d ")
    assert [line for line in lines if line and not begun.match(line) and not line.startswith("  ")] == []
    assert [line for line in lines if begun.match(line) and "INFO longboat.worker: FORGED" in line[:50]] == []


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_line_of_a_server_s_worker_or_events_is_forged(place: Callable[[Path, ExitStack], Place], tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    shell = Shell(tmp_path)
    with ExitStack() as until:
        env = place(tmp_path / "server", until).right
        with (
            shell.start("events", env=env) as events,
            shell.start("worker", "tasks:app", "--log-level", "debug", env=env) as worker,
        ):
            assert worker.stdout is not None
            lines = [worker.stdout.readline()]
            for name in NAMES:
                shell.run("enqueue", f"tasks.{name}", env=env)
            while sum("retry" in line for line in lines) < 1 and sum(" dead" in line for line in lines) < len(NAMES):
                lines.append(worker.stdout.readline())
                assert lines[-1], lines
            worker.terminate()
            lines += worker.communicate()[0].splitlines()
            events.terminate()
            lines += events.communicate()[0].splitlines()
    assert sum("FORGED" in line for line in lines) > 15
    assert [line for line in lines if not line.rstrip("\n").isprintable()] == []
    assert [line for line in lines if "INFO longboat.worker: FORGED" in line[:50]] == []


@pytest.mark.slow
def test_a_log_of_json_is_broken(tmp_path: Path) -> None:
    written = worker_log(tmp_path, "json")
    assert all(line.isprintable() for line in written)
    lines = [json.loads(line) for line in written if line]
    assert {"at", "level", "logger", "text"} <= set.intersection(*map(set, lines))
    assert sum("thread" in line["text"] and "traceback" in line for line in lines) == len(NAMES)


@pytest.mark.slow
def test_start_up_and_the_supervisor_write_json_too(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS + "\n@app.task\ndef die() -> None:\n    import os\n    os._exit(9)\n")
    shell = Shell(tmp_path)
    shell.run("enqueue", "tasks.die")
    done = shell.run("worker", "--burst", "--log-format", "json")
    (tmp_path / "tasks.py").write_text("import nowhere_at_all\n")
    broken = shell.run("worker", "tasks:app", "--log-format", "json", status=3)
    texts = [json.loads(line)["text"] for line in (done.err + broken.err).splitlines()]
    assert any("worker process" in text for text in texts)
    assert any("nowhere_at_all" in text for text in texts)


ON_A_TERMINAL = """
from longboat import Longboat

app = Longboat()

@app.task
def answer(text: str) -> str:
    return text

@app.task
def fail(text: str) -> None:
    raise ValueError(text)
"""
HOSTILE = "\x1b[2J\x9b2J\u202eFORGED\x7f"


OURS = re.compile(r"\r?\x1b\[[\d;]*[mK]")
"""Colours, and a line that says how far a job is."""


@pytest.mark.slow
def test_a_terminal_is_cleared_by_what_a_command_shows(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(ON_A_TERMINAL)
    shell = Shell(tmp_path)
    answered, failed = (shell.run("enqueue", f"tasks.{name}", HOSTILE).out.strip() for name in ("answer", "fail"))
    shell.run("worker", "--burst")
    raw, _ = shell.on_terminal("result", answered)
    commands = [["jobs", *form] for form in ([], ["--json"], ["show", failed], ["show", failed, "--json"])]
    commands += [["result", failed], ["result", answered, "--json"], ["replay", failed], ["replay", answered]]
    commands += [["explain", failed], ["top", "--once"], ["workers"], ["dead", "list"]]
    assert "FORGED" in raw
    assert OURS.sub("", raw).rstrip("\n").isprintable()
    assert shell.run("result", answered).out == f"{HOSTILE}\n", "a pipe gets what it is"
    for command in commands:
        shown, _ = shell.on_terminal(*command, env={"TERM": "dumb", "NO_COLOR": "1"})
        for line in OURS.sub("", shown).splitlines():
            assert line.isprintable(), (command, line)


@pytest.mark.parametrize("text", ["\x7f", "\x9b2J", "\u202e", "\U000e0001", "a b", "Zürich"])
def test_json_keeps_its_texts(text: str) -> None:
    document = json.dumps({"text": text}, ensure_ascii=False)
    assert escaped_json(document).isprintable()
    assert json.loads(escaped_json(document)) == {"text": text}


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\x1b[2J", "\u202ea", "\u2028", "\x85", "\ud800", "\x00"])
def test_what_others_obey_is_written_out(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(text) == text.encode("unicode_escape").decode() or "\\u" in escaped(text) or "\\x" in escaped(text)
    assert escaped("Zürich → 北京") == "Zürich → 北京"
    assert escaped_lines("a\nb\n  c\td") == "a\n  b\n    c    d"
    assert escaped_lines("a\n  b\n    c    d") == "a\n  b\n    c    d"
