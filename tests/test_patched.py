"""Programs under gevent's or eventlet's monkey patching enqueue and wait, on every broker; workers refuse to run there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from longboat import Longboat
from tests.rigs.broker import URLS
from tests.rigs.fault import Yard
from tests.rigs.harnesses import unavailable

pytestmark = pytest.mark.slow

PATCH = {
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
    "eventlet": "import warnings\nwarnings.simplefilter('ignore')\nimport eventlet\neventlet.monkey_patch()\n",
}
PRODUCER = """
import sys
from longboat import Longboat

app = Longboat(sys.argv[1])
add = app.named("add")
jobs = [add.enqueue(n, 1) for n in range(3)] + add.enqueue_many([(n, 1) for n in range(3, 50)])
if sys.argv[2:] == ["waits"]:
    assert [job.result(timeout=20) for job in jobs] == list(range(1, 51))
app.close()
print("done")
"""


@pytest.fixture(params=PATCH)
def patched_by(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Yard(tmp_path) as made:
        yield made


@pytest.mark.parametrize("broker", ["sqlite", *URLS])
def test_producers_work(broker: str, patched_by: str, tmp_path: Path) -> None:
    if reason := unavailable(broker):
        pytest.skip(reason)
    script = tmp_path / "producer.py"
    script.write_text(PATCH[patched_by] + PRODUCER)
    with ExitStack() as stack:
        url = stack.enter_context(URLS[broker](tmp_path)) if broker in URLS else f"sqlite:///{tmp_path}/jobs.db"
        app = stack.enter_context(Longboat(url))

        @app.task(name="add")
        async def add(a: int, b: int) -> int:
            return a + b

        waits = [] if broker == "rabbitmq" else ["waits"]
        stack.enter_context(app.worker())
        command = [sys.executable, str(script), url, *waits]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.stdout == "done\n", ran.stderr


def test_a_worker_says_why_it_does_not_run(patched_by: str, yard: Yard) -> None:
    (yard.folder / "patched.py").write_text(PATCH[patched_by] + "from tests.apps.fault_app import app\n")
    tree = yard.start(app="patched:app")
    assert tree.wait(20) == 3
    assert f"{patched_by} has replaced Python's threads" in tree.said()


def test_a_mounted_dashboard_says_where_to_run_it(patched_by: str) -> None:
    code = f"""{PATCH[patched_by]}
from longboat import ConfigError
from longboat.dashboard import longboat_dashboard
try:
    longboat_dashboard("memory://", local_role="viewer").wsgi({{}}, print)
except ConfigError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"{patched_by} has replaced Python's threads" in ran.stdout, ran.stderr
    assert "`longboat dashboard`" in ran.stdout
