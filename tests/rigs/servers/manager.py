"""One `longboat serve` over a file."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from tests.rigs.servers.process import HOST, ServerProcess


class ManagerServer(ServerProcess):
    """`longboat serve`, not started yet. The key is beside its file."""

    name = "manager"

    @property
    def url(self) -> str:
        return f"manager://{HOST}:{self.port}?authkey_file={self.folder}/key"

    def command_line(self) -> Sequence[str]:
        bind = ["--bind", f"{HOST}:{self.port}", "--store", "sqlite:///store.db", "--authkey-file", "key"]
        return [sys.executable, "-m", "longboat", "serve", *bind]

    def answers(self) -> bool:
        socket.create_connection((HOST, self.port), 1.0).close()
        return True

    def prepare(self) -> None:
        (self.folder / "key").write_text("k" * 32)
