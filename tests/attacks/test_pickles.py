"""A pickle that does something when it is loaded, wherever bytes of others are read: nothing loads it."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import longboat
from longboat import ConfigError, Executor, Longboat
from longboat.brokers.manager.dispatcher import Dispatcher
from longboat.brokers.memory import MemoryBroker
from longboat.connect import connect
from longboat.contract.kv import Entry
from longboat.core.job import Job
from longboat.dashboard import longboat_dashboard
from longboat.errors import BrokerError
from tests.rigs.cli import project
from tests.rigs.dashboard import SCREENS, asking

PICKLED = "longboat.pools.pickled"
LOADERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
SPACES = (
    "worker",
    "failures",
    "tasks",
    "commands",
    "paused",
    "schedule",
    "schedule.state",
    "history.rolled",
    "events",
    "bulk",
)


class Bomb:
    """Makes a directory when its pickle is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def bomb(loaded: Path) -> bytes:
    data = pickle.dumps(Bomb(loaded))
    pickle.loads(data)  # it is ours: it shows that the attack would work
    loaded.rmdir()
    return data


@pytest.mark.slow
def test_a_pickle_stands_in_a_job_and_in_notes(tmp_path: Path, loaded: Path, bomb: bytes) -> None:
    shell = project(tmp_path)
    with closing(connect(shell.url)) as broker:
        broker.put([Job(1, name, f"tasks.{name}", bomb, "default") for name in ("add", "greet", "pid")])
        for space in SPACES:
            broker.kv.write(space, [Entry("x", bomb, 60.0)])
    shell.run("worker", "tasks:app", "--burst")
    for command in (["jobs"], ["jobs", "show", "add"], ["workers"], ["schedules", "list"], ["queues"], ["top", "--once"]):
        shell.run(*command)
    dashboard = longboat_dashboard(shell.url, local_role="admin")
    with asking(dashboard) as client:
        for path in (*SCREENS, "/jobs/add", "/api/v1/jobs"):
            assert client.get(path).status_code in (200, 404), path
    dashboard.close()
    assert not loaded.exists()


def test_a_pickle_is_sent_to_the_manager(loaded: Path, bomb: bytes) -> None:
    with closing(Dispatcher(MemoryBroker())) as server:
        for verb in ("Broker.put", "KV.write", "register", "settle"):
            with pytest.raises(BrokerError, match="does not understand"):
                server.call(verb, bomb)
    assert not loaded.exists()


def test_only_an_executor_that_was_told_to_can_load_one() -> None:
    """For its own child processes, by a file of its own."""
    code = "import sys; from longboat import Executor; Executor(workers=1).shutdown(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "longboat.pools.calls" in done.stdout.split()
    assert PICKLED not in done.stdout.split()
    with pytest.raises(ConfigError, match="an app that says so"):
        Executor(Longboat("memory://"), pickle=True)


def test_no_other_module_can_load_a_pickle() -> None:
    for path in Path(longboat.__file__).parent.rglob("*.py"):
        if path.parts[-3:] == ("longboat", "pools", "pickled.py"):
            continue
        if not any(loader in (text := path.read_text()) for loader in LOADERS):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not LOADERS & {name.partition(".")[0] for name in [*names, module]}, path
