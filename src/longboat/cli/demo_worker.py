"""The demo's worker: a process as a user would start it, which leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

GRACE = 20.0
"""Seconds that the worker has to exit when asked to."""


class DemoFailed(Exception):
    """The message says what went wrong."""


@contextmanager
def worker(url: str, folder: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """A running worker; told to stop at the end, and killed with all its children if it does not.

    Raises DemoFailed with the end of the worker's log if it does not exit with status 0.
    """
    log = folder / "worker.log"
    command = [sys.executable, "-m", "longboat", "worker", "longboat.cli.demo_tasks:app", "--processes", str(processes)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={
                **os.environ,
                "LONGBOAT_URL": url,
                "TMPDIR": str(folder),
            },  # whatever a killed one leaves behind is deleted with the folder
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C goes to this process, which then stops that one
        )
    try:
        with _terminated_as_interrupted():
            yield process
    except DemoFailed as failed:
        raise DemoFailed(f"{failed}{_end_of(log)}") from None
    finally:
        left = stop(process)
    if left:
        raise DemoFailed(f"the worker exited with status {left}.{_end_of(log)}")


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, then after GRACE seconds SIGKILL for it and everything it started; returns the exit status."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does, so that the worker is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_of(log: Path) -> str:
    text = log.read_text(errors="replace")[-2000:].strip()
    return f" Its log ends:\n{text}" if text else ""
