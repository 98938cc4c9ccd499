"""A server as a process of its own that tests start, stop, kill and freeze; none is left behind, however the test ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HOST = "127.0.0.1"
PORTS = range(15_000, 32_000)
"""Below those that Linux gives to outgoing connections, so that a server finds its port free when it starts again."""

START_PATIENCE = 30.0
STOP_PATIENCE = 10.0
TRIES = 5
TAIL = 2_000

WATCH = 'read -r _; kill -s KILL -- "-$1"'
"""A shell that reads from a pipe of this process: it gets to the kill when this process ends, by SIGKILL too."""

_running: set[ServerProcess] = set()


class ServerDidNotStart(RuntimeError):
    """The server ended or did not answer in time; the message holds the end of its log."""


class ServerProcess(ABC):
    """One server, its data in `folder` (made if need be), listening on loopback at ports that it keeps for its life.

    Used by one thread at a time, or as a context manager that starts and stops it. The whole process group is signalled.
    """

    name: str
    """Of the log file, and for messages."""

    def __init__(self, folder: Path, *, ports: int = 1) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports = free_ports(ports)
        """The first is the one that clients connect to. Until the first start they may still change."""
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._born = False

    @abstractmethod
    def command_line(self) -> Sequence[str]:
        """What to run, with `folder` as the working directory; its output goes to `log`."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the process `pid`, and not some other on its port, serves clients. OSError means no."""

    def prepare(self) -> None:  # noqa: B027  # most servers have nothing to prepare
        """Write what the first start needs into the folder. Called again with other ports if these were taken."""

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Of the process that was started, until it is stopped or killed."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Returns when the server answers; raises ServerDidNotStart. Does nothing if it runs already."""
        if self.running:
            return self
        self.kill()  # what is left of one that ended by itself
        if self._born:
            self._launch()
            return self
        for tries_left in reversed(range(TRIES)):
            self.prepare()
            try:
                self._launch()
            except ServerDidNotStart:
                if not tries_left or all(is_free(port) for port in self.ports):
                    raise
                self.ports = free_ports(len(self.ports))
            else:
                self._born = True
                break
        return self

    def stop(self) -> None:
        """Ask it to end (SIGTERM), and kill it if it does not in 10 s. Does nothing if it does not run."""
        if self._process is not None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL), frozen or not. Does nothing if it does not run."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None
        _running.discard(self)

    def freeze(self) -> None:
        """Hold it (SIGSTOP): connections stay open and nothing answers. It stands still when this returns."""
        if not self.running or self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on after a freeze."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again, on the same ports with the same folder."""
        self.stop()
        self.start()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-TAIL:] if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = _spawn(self.command_line(), self.folder, log)
        _running.add(self)
        try:
            self._watch = subprocess.Popen(
                ["sh", "-c", WATCH, "sh", str(self._process.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._await_answer(self._process)
        except BaseException:
            self.kill()
            raise

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        def answers() -> bool:
            if process.poll() is not None:
                raise ServerDidNotStart(f"{self.name} ended with {process.returncode} at its start:\n{self.tail()}")
            try:
                return self.answers()
            except OSError:
                return False

        try:
            until(answers, f"{self.name} answers on port {self.port}", START_PATIENCE)
        except TimeoutError as error:
            raise ServerDidNotStart(f"{error}:\n{self.tail()}") from None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def until(true: Callable[[], bool], what: str, patience: float) -> None:
    """Returns as soon as it is true; TimeoutError, saying what was waited for, after so many seconds."""
    give_up = time.monotonic() + patience
    while not true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {patience:g} s in vain: {what}")
        time.sleep(0.02)


def free_ports(n: int) -> list[int]:
    """Different ports of loopback that nobody listens on now. Another program may be quicker to take them."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if is_free(port):
            found.append(port)
        if len(found) == n:
            return found
    raise OSError(f"there are no {n} free ports from {PORTS.start} to {PORTS.stop - 1}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _spawn(command: Sequence[str], folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def _stop_all(owner: int) -> None:
    if os.getpid() == owner:  # a forked child that ends leaves its parent's servers alone
        for server in list(_running):
            server.kill()


atexit.register(_stop_all, os.getpid())
