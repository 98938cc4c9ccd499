"""Real worker trees for the fault tests: started with the real command, killed as a group, and never left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from longboat import Longboat
from longboat.tasks.handle import Handle
from longboat.tasks.task import Task
from tests.rigs.checker import Checker

ROOT = Path(__file__).parents[2]
LEFT_WITHIN = 5.0
"""Seconds after which nothing of a tree may live any more once its supervisor is gone."""


class Tree:
    """One supervisor and all that descends from it: a session of its own."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self._errors = folder / f"worker-{time.monotonic_ns()}.err"
        with self._errors.open("wb") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "longboat", "worker", *arguments],
                cwd=folder,
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def said(self) -> str:
        """All that it has written."""
        return self._errors.read_text()

    def members(self) -> set[int]:
        """The pids of all processes of this tree that live, orphans included."""
        return {pid for pid in psutil.pids() if _session(pid) == self.pid and _lives(pid)}

    def workers(self) -> list[int]:
        """The pids of the worker processes: the supervisor's children."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children() if _lives(child.pid)]
        except psutil.NoSuchProcess:
            return []

    def up(self, n: int = 1) -> list[int]:
        """Wait until `n` workers are ready; their pids."""
        until(lambda: self.said().count(" tasks known") >= n, 20, self.said)
        return self.workers()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 of the whole tree at once."""
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)
        until(lambda: not self.members(), LEFT_WITHIN, self.said)

    def wait(self, within: float) -> int:
        """Its exit status. Nothing of it may live on."""
        try:
            status = self._popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not leave within {within} s:\n{self.said()}") from None
        until(lambda: not self.members(), LEFT_WITHIN, self.said)
        return status

    def stop(self, within: float = 15.0) -> int:
        self.signal(signal.SIGTERM)
        return self.wait(within)

    def clean_up(self) -> None:
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._popen.wait(10)
        until(lambda: not self.members(), LEFT_WITHIN)


class Yard:
    """A folder with a queue, the trees that work on it, and what is known of their jobs."""

    def __init__(self, folder: Path, queue: str = "queue.db", *, url: str = "") -> None:
        self.folder = folder
        self.log = folder / "runs.log"
        self.log.touch()
        self.url = url or f"sqlite:///{folder / queue}"
        self.app = Longboat(self.url)
        self.check = Checker(self.app, self.log)
        self.trees: list[Tree] = []

    def start(self, *arguments: str, app: str = "tests.apps.fault_app:app") -> Tree:
        environment = {"LONGBOAT_URL": self.url, "FAULT_LOG": str(self.log), "PYTHONUNBUFFERED": "1"}
        tree = Tree((app, *arguments), self.folder, environment)
        self.trees.append(tree)
        return tree

    def task(self, name: str) -> Task[..., Any]:
        return self.app.named(f"tests.apps.fault_app.{name}")

    def enqueue(self, name: str, *arguments: object) -> Handle[Any]:
        handle = self.task(name).enqueue(*arguments)
        self.check.acknowledged.append(handle.id)
        return handle

    def enqueue_many(self, name: str, n: int, *arguments: object) -> list[str]:
        handles = self.task(name).enqueue_many([arguments] * n)
        ids = [handle.id for handle in handles]
        self.check.acknowledged += ids
        return ids

    def until_started(self, n: int, within: float = 20.0) -> None:
        until(lambda: self.log.read_bytes().count(b"start ") >= n, within, self._said)

    def until_ended(self, n: int, within: float) -> None:
        """Wait for `n` ends in the log."""
        until(lambda: self.log.read_bytes().count(b"end ") >= n, within, self._said)

    def until_over(self, within: float) -> float:
        """Wait until every job has ended; how many seconds that took."""
        began = time.monotonic()
        until(self.check.all_over, within, self._said, every=0.05)
        return time.monotonic() - began

    def query(self, statement: str, *values: object) -> list[Any]:
        """Straight to the file, past the broker; what it answers."""
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=5)) as db, db:
            return db.execute(statement, values).fetchall()

    def _said(self) -> str:
        return f"{self.app.broker.inspector.counts()}\n" + "\n".join(tree.said()[-3000:] for tree in self.trees)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for tree in self.trees:
            tree.clean_up()
        self.app.close()


def until(true: Callable[[], object], within: float, say: Callable[[], str] = str, *, every: float = 0.01) -> None:
    """Wait for something; fails after `within` seconds with what `say` says."""
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s. {say()}")
        time.sleep(every)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
