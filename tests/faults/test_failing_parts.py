"""Each part of a worker in turn ends by an error: its process says so, hands back its jobs, and another takes its place."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from longboat.core.job import Failure
from tests.rigs.fault import Yard, until

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def probed(port: int, path: str) -> tuple[int, str]:
    """Status and text; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


PARTS = (
    "fetcher",
    "settler",
    "leases",
    "maintenance",
    "quarantine",
    "health",
    "event loop",
    "thread-1",
    "processes",
    "job-channels",
    "replies",
)
"""As in failing_app.py."""


@pytest.mark.parametrize("part", PARTS)
def test_its_process_ends_with_the_reason_and_another_goes_on(part: str, yard: Yard) -> None:
    yard.enqueue("nap", 0.0)
    dead = yard.app.broker.consumer([], lease=600.0)
    assert dead.receive(1, wait=5.0)
    port = free_port()
    tree = yard.start("--threads=1", "--processes=1", f"--health-port={port}", app="tests.apps.failing_app:app")
    [worker] = tree.up()
    until(lambda: probed(port, "/livez") == (200, "ok\n"), 10, tree.said)
    yard.enqueue("nap", 1.5)
    yard.until_started(1)
    (yard.folder / f"strike {part}").touch()
    for name in ("nap", "nap_in_thread", "nap_in_process"):
        yard.enqueue_many(name, 5, 0.05)
    yard.check.acknowledged.append(yard.app.named("tests.apps.failing_app.talk").enqueue().id)
    yard.app.broker.evict(dead.id, Failure("longboat.WorkerDied", "so the test says"))
    reason = f"the {part} failed: SystemExit: struck: {part}"
    if part != "health":
        until(lambda: probed(port, "/livez") == (503, f"{reason}\n"), 10, tree.said)
        assert probed(port, "/readyz") in ((503, f"{reason}\n"), (0, "")), "or it has ended meanwhile"
    until(lambda: f"worker process {worker} exited with status 70, because {reason}; its jobs" in tree.said(), 10, tree.said)
    assert f"the worker's {part} failed" in tree.said()
    assert "Traceback" in tree.said()
    yard.until_over(30)
    until(lambda: len(tree.workers()) == 1 and tree.workers() != [worker], 10, tree.said)
    until(lambda: probed(port, "/livez") == (200, "ok\n"), 10, tree.said)
    assert tree.stop() == 0
    yard.check.sound(handed_back=yard.check.acknowledged)
    attempts = {view.attempts for view in yard.check.views(yard.check.acknowledged).values()}
    assert attempts == {1}, "a job was blamed"
