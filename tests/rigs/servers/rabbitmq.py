"""One RabbitMQ node of its own: own ports, name, cookie and name server, all of it in one folder and one process group."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.rigs.servers.process import HOST, ServerProcess

HOME = Path("/usr/lib/rabbitmq/bin")
"""Where Debian keeps the scripts that run as whoever calls them; those on PATH want to be root or rabbitmq."""

CTL_PATIENCE = 60.0
PATIENCE = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}]."
"""As docs/rabbitmq.md says: what a killed server was passing on comes after seconds, and not after three minutes."""
GREETING = b"AMQP\0\0\x09\x01"


@functools.cache
def available() -> str | None:
    """None if RabbitMQ nodes can be run here, else why not and what to install: the reason to skip a test."""
    if not (HOME / "rabbitmq-server").exists() or shutil.which("epmd") is None:
        return "there is no rabbitmq-server (on Debian: apt install rabbitmq-server)"
    return None


class RabbitmqServer(ServerProcess):
    """One node, not started yet. It keeps what is durable over a restart. `options` are further lines of rabbitmq.conf;
    with `management` the plugin of that name answers too.
    """

    name = "rabbitmq"

    def __init__(self, folder: Path, *, options: Sequence[str] = (), management: bool = False) -> None:
        super().__init__(folder, ports=4 if management else 3)
        self._options = options
        self._management = management

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    @property
    def management_url(self) -> str:
        return f"http://{HOST}:{self.ports[3]}"

    def ctl(self, *args: str) -> str:
        """What rabbitmqctl says; CalledProcessError if it fails."""
        return subprocess.run(
            [str(HOME / "rabbitmqctl"), *args],
            env=self._environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=CTL_PATIENCE,
        ).stdout

    def command_line(self) -> Sequence[str]:
        settings = [f"{key}={value}" for key, value in self._environment().items()]
        script = f'epmd -address {HOST} -port {self.ports[2]} & exec "{HOME}/rabbitmq-server"'
        return ["env", "-i", *settings, "sh", "-c", script]

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), 1.0) as connection:
            connection.sendall(GREETING)
            greeted = bool(connection.recv(8))
        if self._management:
            socket.create_connection((HOST, self.ports[3]), 1.0).close()
        return greeted

    def prepare(self) -> None:
        lines = [f"listeners.tcp.1 = {HOST}:{self.port}", "log.file.level = error", *self._options]
        if self._management:
            lines += [f"management.tcp.ip = {HOST}", f"management.tcp.port = {self.ports[3]}"]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "advanced.config").write_text(f"{PATIENCE}\n")
        (self.folder / "plugins").write_text("[rabbitmq_management].\n" if self._management else "[].\n")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.ports[2]),
            "RABBITMQ_NODENAME": f"longboat{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.ports[1]),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",  # idle threads do not spin
        }
