"""How the server of `longboat dashboard` ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.rigs.dashboard_command import start

PROGRAM = """
import signal, socket, sys
import uvicorn
from starlette.applications import Starlette
from longboat.dashboard.serving import serve

run = uvicorn.Server.run

def told_before(server, sockets):
    signal.raise_signal(int(sys.argv[1]))
    run(server, sockets)

uvicorn.Server.run = told_before
with socket.create_server(("127.0.0.1", 0)) as listening:
    serve(Starlette(), listening, "")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_listens_ends_it(number: int) -> None:
    """In a process of its own, which is killed where it does not end."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(int(number))], timeout=20, check=True)


@pytest.mark.slow
def test_open_streams_do_not_hold_it_up(tmp_path: Path) -> None:
    with start(tmp_path, "--port", "0", "--role", "admin") as program:
        assert program.stdout is not None
        at = "http://" + program.stdout.readline().partition("http://")[2].strip()
        wanted = urllib.request.Request(at, headers={"accept": "text/event-stream"})
        with urllib.request.urlopen(wanted) as answer:
            assert answer.readline() == b": longboat\n"
            program.terminate()
            rest, _ = program.communicate(timeout=20)
    assert rest == "", "nothing is cut off by force"
