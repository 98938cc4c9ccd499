"""One pgbouncer in front of a PostgreSQL server, with transaction pooling: each transaction may run in another session."""

from __future__ import annotations

import functools
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.rigs.servers.postgres import OWNER, PostgresServer
from tests.rigs.servers.process import HOST, ServerProcess

PROGRAM = "/usr/sbin/pgbouncer"
"""Where Debian puts it, which is not on every user's PATH."""


@functools.cache
def program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which(PROGRAM)


@functools.cache
def available() -> str | None:
    """None if pgbouncer can be run here, else why not and what to install: the reason to skip a test."""
    return None if program() else "there is no pgbouncer (on Debian: apt install pgbouncer)"


class PgbouncerServer(ServerProcess):
    """One pgbouncer, not started yet, before a server that has: it holds at most `sessions` open there."""

    name = "pgbouncer"

    def __init__(self, folder: Path, behind: PostgresServer, *, sessions: int = 5) -> None:
        super().__init__(folder)
        self._behind = behind
        self._sessions = sessions

    @property
    def url(self) -> str:
        return f"postgresql://longboat@{HOST}:{self.port}/postgres"

    def command_line(self) -> Sequence[str]:
        command = [program() or PROGRAM, str(self._settings)]
        if os.geteuid() != 0:
            return command
        return ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups", *command]  # it refuses to run as root

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), 1.0):
            return True

    def prepare(self) -> None:
        lines = [
            "[databases]",
            f"postgres = host={HOST} port={self._behind.port} dbname=postgres user=longboat",
            "[pgbouncer]",
            f"listen_addr = {HOST}",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            "pool_mode = transaction",
            f"default_pool_size = {self._sessions}",
            "max_client_conn = 200",
            "server_round_robin = 1",
        ]
        self._settings.write_text("\n".join(lines) + "\n")
        self._settings.chmod(0o644)

    @property
    def _settings(self) -> Path:
        """Beside the server's own data, which its user may read."""
        return self._behind.folder / f"{self.name}-{self.port}.ini"
