"""Beside the other queues: no-op jobs a second of one worker process each, on the same server, seen in the same way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.chart import Bar
from bench.figure import Figure, Plan, Tell, ratio
from bench.place import ROOT
from bench.redis import jobs
from bench.redis.environments import python
from bench.redis.marks import marks, seconds
from bench.redis.peers.driver import VARIABLE
from bench.redis.place import fill, worker
from bench.redis.server import emptied, server

OURS = "Longboat"
NUMBER = 100_000


class Peer(NamedTuple):
    """How many jobs: about two seconds of its work."""

    name: str
    module: str
    environment: str
    number: int


PEERS = (
    Peer("taskiq, stream", "taskiq_stream", "shared", 5000),
    Peer("taskiq, list", "taskiq_list", "shared", 5000),
    Peer("arq", "arq", "arq", 5000),
    Peer("huey", "huey", "shared", 5000),
    Peer("saq", "saq", "saq", 5000),
    Peer("dramatiq", "dramatiq", "shared", 5000),
    Peer("streaq", "streaq", "shared", 3000),
    Peer("celery", "celery", "shared", 2000),
    Peer("rq", "rq", "shared", 500),
)


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    abouts = {peer: about(peer) for peer in PEERS}
    ours: list[float] = []
    theirs: dict[Peer, list[float]] = {peer: [] for peer in PEERS}
    with server() as url:
        for turn in range(plan.repeat):
            tell(f"Longboat beside its peers {turn + 1}/{plan.repeat}")
            ours.append(our_rate(emptied(url), NUMBER // 5 if plan.quick else NUMBER))
            for peer in PEERS:
                tell(f"{peer.name} {turn + 1}/{plan.repeat}")
                number = peer.number // 5 if plan.quick else peer.number
                theirs[peer].append(rate(peer, emptied(url), number))
    settings = "one worker process, concurrency 100, uvloop if installed"
    yield Figure(OURS, "jobs/s", ours, note=noted(True, settings))
    for peer, rates in theirs.items():
        yield Figure(peer.name, "jobs/s", rates, note=noted(abouts[peer]["at_least_once"], abouts[peer]["settings"]))
    best = max((peer for peer in PEERS if abouts[peer]["at_least_once"]), key=lambda peer: median(theirs[peer]))
    yield ratio("beside the best at-least-once peer", ours, theirs[best], best.name, "jobs/s", goal=20)


def noted(at_least_once: object, settings: object) -> str:
    return f"{'at least once' if at_least_once else 'at most once'}; {settings}; no results kept"


def bars(figures: Sequence[Figure]) -> list[Bar]:
    """What is drawn of these figures: the speeds, with the guarantee that each note begins with."""
    return [Bar(one.name, one.value, one.note.partition(";")[0], one.name == OURS) for one in figures if one.goal is None]


def our_rate(url: str, number: int) -> float:
    with marks() as path, worker(fill(url, jobs.marked, number)) as process:
        return number / seconds(path, number, process)


def about(peer: Peer) -> dict[str, object]:
    """Its settings and its guarantee, from its driver."""
    run = subprocess.run(command(peer, "about"), cwd=ROOT, env=environment(""), check=True, stdout=subprocess.PIPE)
    told: dict[str, object] = json.loads(run.stdout)
    return told


def rate(peer: Peer, url: str, number: int) -> float:
    """Jobs a second, from the first that is seen to the last."""
    with marks() as path:
        subprocess.run(command(peer, "put", str(number)), cwd=ROOT, env=environment(url), check=True)
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
    return [str(python(peer.environment)), "-m", f"bench.redis.peers.{peer.module}", *arguments]


def environment(url: str) -> dict[str, str]:
    """Nothing of our own interpreter's packages."""
    theirs = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return {**theirs, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", VARIABLE: url or "redis://127.0.0.1:1/0"}
