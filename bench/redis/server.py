"""A redis-server of our own: on a free port, its append-only file in a temporary folder on a disk, gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from redis import Redis, exceptions

from bench.place import folder

SETTINGS = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
"""As judged: what is acknowledged survives a killed server, and all but the last second survives a power cut."""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("no redis-server was found (on Debian: apt install redis-server)")
    with folder() as path:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(path), *SETTINGS]
        with (path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            until_it_answers(url, process, path / "log")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    with Redis.from_url(url) as client:
        for _ in range(1000):
            with contextlib.suppress(exceptions.ConnectionError):
                client.ping()
                return
            if process.poll() is not None:
                break
            time.sleep(0.01)
    raise RuntimeError(f"redis-server did not start: {log.read_text()[-500:]}")


def version() -> str:
    """Of the server, and of the client that everything of ours uses."""
    said = subprocess.run(["redis-server", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    server = next(word.removeprefix("v=") for word in said.split() if word.startswith("v="))
    settings = " ".join(SETTINGS[2:]).replace("--", "")
    return f"{server} ({settings}), redis-py {metadata.version('redis')}, hiredis {metadata.version('hiredis')}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def emptied(url: str) -> str:
    """The same server with nothing in it and its append-only file rewritten, so that each run begins alike."""
    with Redis.from_url(url) as client:
        client.flushall()
        rewritten(client)
        client.bgrewriteaof()
        rewritten(client)
    return url


def rewritten(client: Redis) -> None:
    """Waits until no rewrite of the append-only file is under way."""
    while True:
        about = client.info("persistence")
        if not about["aof_rewrite_in_progress"] and not about["aof_rewrite_scheduled"]:
            return
        time.sleep(0.01)
