"""One Redis server: plain TCP, a Unix socket, and TLS or a password where a test asks for them."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.rigs.servers.process import HOST, ServerProcess
from tests.rigs.servers.redis.certificates import make_certificates
from tests.rigs.servers.redis.resp import RedisError, command

PROGRAM = "redis-server"
OLDEST = 7
ANSWER_PATIENCE = 1.0


@functools.cache
def available() -> str | None:
    """None if Redis servers can be run here, else why not and what to install: the reason to skip a test."""
    install = "on Debian: apt install redis-server"
    if shutil.which(PROGRAM) is None:
        return f"there is no redis-server on PATH ({install})"
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v=(\d+)\.", said)
    if version is None or int(version[1]) < OLDEST:
        return f"redis-server says {said.strip()!r}, {OLDEST}.0 or newer is needed ({install})"
    return None


class RedisServer(ServerProcess):
    """One server, not started yet. It keeps nothing over a restart unless `appendonly`, then every write at once.

    `options` are further lines of redis.conf. With `password`, every connection must log in. With `tls`, it listens
    at `tls_url` too; that needs the `openssl` command.
    """

    name = "redis"

    def __init__(
        self,
        folder: Path,
        *,
        appendonly: bool = False,
        options: Sequence[str] = (),
        password: str = "",
        tls: bool = False,
        ports: int = 1,
    ) -> None:
        super().__init__(folder, ports=ports + tls)
        self.password = password
        self._appendonly = appendonly
        self._options = options
        self._tls = tls

    @property
    def url(self) -> str:
        return f"redis://{self._login}{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self._login}{quote(str(self.folder / 'redis.sock'))}"

    @property
    def tls_url(self) -> str:
        """With the authority to trust, in the words of redis-py."""
        if not self._tls:
            raise ValueError("made without tls=True")
        return f"rediss://{self._login}{HOST}:{self.ports[-1]}/0?{urlencode({'ssl_ca': self.authority})}"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed the server's own."""
        return self.folder / "ca.crt"

    def command(self, *args: str | int | bytes) -> Any:
        """The reply to one command, logged in; errors as of `command`."""
        return command(self.port, *args, password=self.password)

    def info(self, section: str) -> dict[str, str]:
        """What INFO says of a section."""
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def command_line(self) -> Sequence[str]:
        return [PROGRAM, "redis.conf"]

    def answers(self) -> bool:
        try:
            said = command(self.port, "INFO", "all", password=self.password, patience=ANSWER_PATIENCE)
        except RedisError:
            return False
        return f"process_id:{self.pid}\r\n" in said and "loading:1" not in said

    def prepare(self) -> None:
        if self._tls:
            make_certificates(self.folder)
        (self.folder / "redis.conf").write_text("\n".join(self._lines()) + "\n")

    def _lines(self) -> list[str]:
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            "unixsocket redis.sock",
            'save ""',
            f"appendonly {'yes' if self._appendonly else 'no'}",
            "appendfsync always",
            "shutdown-timeout 0",  # else it waits 10 s for a replica that is frozen
            "repl-diskless-sync-delay 0",  # else a replica waits 5 s for others to come along
        ]
        if self.password:
            escaped = self.password.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'requirepass "{escaped}"')
        if self._tls:
            lines += [f"tls-port {self.ports[-1]}", "tls-auth-clients no", "tls-ca-cert-file ca.crt"]
            lines += ["tls-cert-file server.crt", "tls-key-file server.key"]
        return [*lines, *self._options]

    @property
    def _login(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password else ""
