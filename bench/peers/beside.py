"""Other queues beside ours: no-op jobs a second of one worker process each, on the same server, seen in the same way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bench.chart import Bar
from bench.figure import Figure
from bench.peers.environments import python
from bench.peers.marks import URL, marks, seconds
from bench.place import ROOT


class Peer(NamedTuple):
    """How many jobs: about two seconds of its work."""

    name: str
    module: str
    """Its driver."""
    environment: str
    number: int


def noted(at_least_once: object, settings: object) -> str:
    return f"{'at least once' if at_least_once else 'at most once'}; {settings}; no results kept"


def bars(figures: Sequence[Figure], ours: str) -> list[Bar]:
    """What is drawn of these figures: the speeds, with the guarantee that each note begins with."""
    return [Bar(one.name, one.value, one.entry.partition(";")[0], one.name == ours) for one in figures if one.goal is None]


def about(peer: Peer, url: str) -> dict[str, object]:
    """Its settings and its guarantee, from its driver. No server need be at the address."""
    run = subprocess.run(command(peer, "about"), cwd=ROOT, env=environment(url), check=True, stdout=subprocess.PIPE)
    told: dict[str, object] = json.loads(run.stdout)
    return told


def rate(peer: Peer, url: str, number: int, filled: Callable[[], object] = lambda: None) -> float:
    """Jobs a second, from the first that is seen to the last. `filled` is called between the puts and the worker's start."""
    with marks() as path:
        subprocess.run(command(peer, "put", str(number)), cwd=ROOT, env=environment(url), check=True)
        filled()
        with working(peer, url) as process:
            return number / seconds(path, number, process)


@contextlib.contextmanager
def working(peer: Peer, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Its worker, killed afterwards with all that it started: some take long to stop when nothing is left to do."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command(peer, "work"), cwd=ROOT, env=environment(url), stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        except Exception as error:
            log.seek(0)
            error.add_note(f"{peer.name} said:\n{log.read()[-2000:].decode(errors='replace')}")
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def command(peer: Peer, *arguments: str) -> list[str]:
    return [str(python(peer.environment)), "-m", peer.module, *arguments]


def environment(url: str) -> dict[str, str]:
    """Nothing of our own interpreter's packages."""
    theirs = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return {**theirs, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", URL: url}
