"""What the workers run: squares of numbers, and a look into a file that is too large to be sent, so that its path is."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from longboat import Longboat

app = Longboat()


@app.task
def square(n: int) -> int:
    return n * n


@app.task
def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@app.task
def addresses() -> str:
    """Where this worker is on the network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.99.0.1", 9))  # nothing is sent
        address: str = probe.getsockname()[0]
        return address
