"""One PostgreSQL server, made and run as an ordinary user, since it refuses to run as root."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.rigs.servers.process import HOST, ServerProcess, until

PROGRAMS = Path("/usr/lib/postgresql")
OLDEST = 13
OWNER = "postgres"
"""Who runs the server when tests run as root."""


@functools.cache
def programs() -> Path | None:
    """The folder of the newest server's programs: Debian's, or that of the `postgres` on PATH."""
    versions = sorted((int(path.name) for path in PROGRAMS.glob("[0-9]*") if path.name.isdigit()), reverse=True)
    for version in versions:
        if version >= OLDEST and (PROGRAMS / str(version) / "bin" / "postgres").exists():
            return PROGRAMS / str(version) / "bin"
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


@functools.cache
def available() -> str | None:
    """None if PostgreSQL servers can be run here, else why not and what to install: the reason to skip a test."""
    install = "on Debian: apt install postgresql"
    if programs() is None:
        return f"there is no PostgreSQL server {OLDEST} or newer ({install})"
    if os.geteuid() == 0 and OWNER not in (entry.pw_name for entry in pwd.getpwall()):
        return f"PostgreSQL does not run as root, and there is no user {OWNER!r} ({install})"
    try:
        import psycopg  # noqa: F401  # to see whether it is there
    except ImportError:
        return "psycopg is not installed: pip install 'longboat[postgres]'"
    return None


class PostgresServer(ServerProcess):
    """One server, not started yet. Everybody of this machine may log in as the superuser `longboat`.

    `options` are further lines of postgresql.conf. Unless `durable`, it never waits for the disk: what it acknowledged
    survives its own death, not a power cut. With `of` it is a standby of that server, which runs.
    """

    name = "postgres"

    def __init__(
        self, folder: Path, *, options: Sequence[str] = (), durable: bool = False, of: PostgresServer | None = None
    ) -> None:
        super().__init__(folder)
        self._of = of
        self._options = options
        self._durable = durable

    @property
    def url(self) -> str:
        return f"postgresql://longboat@{HOST}:{self.port}/postgres"

    def query(self, sql: str) -> str:
        """What psql says to a statement, unaligned and without headings; raises CalledProcessError."""
        command = [self._program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        return subprocess.run(command, input=sql, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def command_line(self) -> Sequence[str]:
        command = [self._program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups", *command] if _is_root() else command

    def answers(self) -> bool:
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return False
        lines = pid_file.read_text().splitlines()
        return len(lines) > 7 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    def shutdown(self, mode: str) -> None:
        """Stop as an administrator does: `fast` ends every session, `immediate` as a crash would."""
        command = [self._program("pg_ctl"), "stop", "-D", str(self._data), "-m", mode, "-w", "-t", "20"]
        subprocess.run(command, check=True, capture_output=True, timeout=30, **_as_owner())
        self.kill()

    def stop(self) -> None:
        """A fast shutdown: SIGTERM would wait for every client to leave."""
        if self.running:
            self.thaw()
            self.shutdown("fast")
        self.kill()

    def kill(self) -> None:
        """As a crash of the machine would: the processes that serve its clients die with it."""
        children = self._children()
        super().kill()
        _signal(children, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "its processes are gone", 5.0)

    def freeze(self) -> None:
        """Hold the server and the processes that serve its clients, each of which is a group of its own."""
        super().freeze()
        _signal(self._children(), signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(self._children(), signal.SIGCONT)
        super().thaw()

    def _children(self) -> list[int]:
        if self.pid is None:
            return []
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []  # it has ended
        return [int(pid) for pid in children.split()]

    def prepare(self) -> None:
        if not self._data.exists():
            if _is_root():
                shutil.chown(self.folder, OWNER, OWNER)
                self.folder.chmod(0o755)
                temporary = Path(tempfile.gettempdir()).resolve()
                for parent in self.folder.resolve().parents:  # temporary folders are closed to other users
                    if parent.is_relative_to(temporary) and parent != temporary:
                        parent.chmod(parent.stat().st_mode | 0o011)
            command = [self._program("initdb"), "-A", "trust", "-U", "longboat", "--no-sync", "-E", "UTF8", "--no-locale"]
            if self._of is not None:
                command = [self._program("pg_basebackup"), "-d", self._of.url, "-R", "--no-sync", "-c", "fast"]
            command += ["-D", str(self._data)]
            made = subprocess.run(command, capture_output=True, text=True, check=False, **_as_owner(self.folder))
            if made.returncode:
                raise RuntimeError(f"{command[0]} ended with {made.returncode}: {made.stderr}")
        (self._data / "longboat.conf").write_text("\n".join(self._lines()) + "\n")
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write("include 'longboat.conf'\n")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _lines(self) -> list[str]:
        lines = [
            f"listen_addresses = '{HOST}'",
            f"unix_socket_directories = '{self.folder}'" if len(str(self.folder)) < 80 else "unix_socket_directories = ''",
            "shared_buffers = 64MB",
            "max_wal_size = 1GB",
            f"fsync = {'on' if self._durable else 'off'}",
        ]
        return [*lines, *self._options]

    def _program(self, name: str) -> str:
        found = programs()
        if found is None:
            raise RuntimeError(available() or "there is no PostgreSQL server")
        return str(found / name)


def _is_root() -> bool:
    return os.geteuid() == 0


def _as_owner(folder: Path | None = None) -> dict[str, Any]:
    owner: dict[str, Any] = {"user": OWNER, "group": OWNER} if _is_root() else {}
    return {**owner, "cwd": str(folder)} if folder else {**owner, "cwd": "/"}


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    """To those that are there still: a server ends processes of its own at any time."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
