"""URLs to brokers: the built-in table, entry points of other packages, and what is said when a URL names none."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.connect import BUILT_IN, GROUP, connect
from longboat.core.job import State
from longboat.errors import ConfigError, MissingExtra
from tests.rigs.cli import Shell

ROOT = Path(__file__).parent.parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package that adds `mine://`, and the broken `yours://` and `theirs://`."""
    (tmp_path / "mine.py").write_text(
        "from longboat.brokers.memory import MemoryBroker\n\n"
        "def connect(url, options):\n"
        "    broker = MemoryBroker()\n"
        "    broker.url, broker.color = url, options.pop('color', 'red')\n"
        "    return broker\n"
    )
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nmine = mine:connect\nyours = mine:no_such_name\ntheirs = nowhere:connect\nredis = mine:connect\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.usefixtures("package")
def test_an_installed_package_adds_a_scheme() -> None:
    broker: Any = connect("mine://host/path?color=blue")
    assert (broker.url, broker.color) == ("mine://host/path?color=blue", "blue")
    with pytest.raises(ConfigError, match="unknown option 'size'"):
        connect("mine://host?size=1")
    with Longboat("mine://").worker():
        pass


@pytest.mark.usefixtures("package")
def test_ours_cannot_be_replaced() -> None:
    assert type(connect("redis://localhost/")).__name__ == "RedisBroker"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("scheme", ["yours", "theirs"])
def test_what_cannot_be_imported_is_named(scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"{scheme}:// is said to be .*cannot be imported"):
        connect(f"{scheme}://")


@pytest.mark.usefixtures("package")
def test_an_unknown_scheme_is_told_the_known_ones_and_how_to_add_one() -> None:
    with pytest.raises(ConfigError) as raised:
        connect("nobody://user:secret@host")
    for said in ("sqlite://", "mine://", GROUP, "docs/brokers.md", "nobody://user:***@host"):
        assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_ours_are_registered_as_others_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == BUILT_IN
    for scheme, value in BUILT_IN.items():
        assert callable(EntryPoint(scheme, value, GROUP).load())


@pytest.mark.parametrize(("driver", "extra"), [("redis", "redis"), ("psycopg", "postgres"), ("pika", "rabbitmq")])
def test_a_missing_driver_is_named(driver: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = {"redis": "redis", "psycopg": "postgresql", "pika": "amqp"}[driver]
    for name in [name for name in sys.modules if name.split(".")[0] == driver or f"brokers.{extra}" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'longboat\[{extra}\]'"):
        connect(f"{scheme}://host/")


def test_a_fault_within_an_adapter_is_not_taken_for_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "longboat.brokers.memory.url", None)
    with pytest.raises(ModuleNotFoundError, match="memory"):
        connect("memory://")


@pytest.mark.usefixtures("unmeasured")
def test_a_broker_that_is_only_connected_imports_little() -> None:
    late = {"asyncio", "importlib.metadata", "importlib.resources", "json", "ssl", "tempfile"}
    code = f"import sys, longboat; longboat.connect('sqlite:///x.db'); print(*({late} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_a_broker_with_options_left_over_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    module = ModuleType("longboat.brokers.memory.url")
    monkeypatch.setattr(module, "connect", lambda _url, _options: MemoryBroker(), raising=False)
    monkeypatch.setattr(MemoryBroker, "close", lambda _self: closed.append(True))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(ConfigError, match="unknown option 'a'"):
        connect("memory://?a=1")
    assert closed == [True]


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("sqlite:///queue.db?timeout=5s", "sqlite:///{here}/queue.db?timeout=5s"),
        ("sqlite:///in/queue%20one.db", "sqlite:///{here}/in/queue%20one.db"),
        (
            "amqp://host:5672/?tls=no&results=sqlite:///queue.db",
            "amqp://host:5672/?tls=no&results=sqlite:///{here}/queue.db",
        ),
        *(
            (url, url)
            for url in ("sqlite:////queue.db", "sqlite:///%2Fqueue.db", "sqlite:///", "redis://host/0", "nonsense")
        ),
    ],
)
def test_a_relative_file_is_settled_where_the_app_is_made(url: str, becomes: str) -> None:
    assert Longboat(url).url == becomes.format(here=Path.cwd())


def send_from(folder: Path, app: Longboat) -> None:
    os.chdir(folder)
    app.send("task", 2)


def test_an_app_has_one_file_wherever_its_processes_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, other = tmp_path / "a b#c?d%41e", tmp_path / "other"
    for folder in (made, other):
        folder.mkdir()
    monkeypatch.chdir(made)
    app = Longboat("sqlite:///queue.db")
    monkeypatch.chdir(other)
    app.send("task", 1)
    child = multiprocessing.get_context("fork").Process(target=send_from, args=(tmp_path, app))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert app.broker.inspector.counts() == {("default", State.READY): 2}
    app.close()
    assert (made / "queue.db").is_file()
    assert not list(other.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {made.name, other.name}


MOVING = """
import os
from longboat import Longboat

app = Longboat("sqlite:///queue.db")

@app.task(name="go")
def go() -> None:
    os.chdir("elsewhere")

@app.task(name="note")
async def note() -> str:
    return "noted"

@app.task(name="child", executor="process")
def child(folder: str) -> str:
    os.chdir(folder)
    return note.enqueue().id
"""


@pytest.mark.slow
def test_a_child_process_has_the_worker_s_file_wherever_tasks_have_gone(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(MOVING)
    (tmp_path / "elsewhere").mkdir()
    shell = Shell(tmp_path)
    with shell.start("worker") as worker:
        for task, *arguments in (["go"], ["child", str(tmp_path / "elsewhere")], ["child", "/"]):
            last = shell.run("enqueue", task, *arguments, "--wait", "--timeout", "30s").out.strip()
        assert shell.run("result", last, "--wait", "--timeout", "30s").out == "noted\n"
        worker.terminate()
        worker.communicate(timeout=30)
    assert not list((tmp_path / "elsewhere").iterdir())
