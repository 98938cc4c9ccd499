"""The classic example of `multiprocessing.managers`, a master and its workers, with only the import changed."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import AuthenticationError
from multiprocessing.managers import BaseManager, RemoteError
from pathlib import Path

import pytest

from longboat.brokers.manager import PlainManager
from tests.rigs.servers.process import free_ports

MASTER = """
import queue
{imported}

task_queue = queue.Queue()
result_queue = queue.Queue()

class QueueManager(BaseManager):
    pass

def get_task_queue():
    return task_queue

def get_result_queue():
    return result_queue

QueueManager.register("get_task_queue", callable=get_task_queue)
QueueManager.register("get_result_queue", callable=get_result_queue)

if __name__ == "__main__":
    manager = QueueManager(address=("", {port}), authkey=b"abc")
    manager.start()
    tasks = manager.get_task_queue()
    results = manager.get_result_queue()
    print("ready", flush=True)
    for n in range(10):
        tasks.put(n)
    for n in range(10):
        print(results.get(timeout=20))
    print(tasks.empty(), tasks.qsize())
    manager.shutdown()
"""

WORKER = """
import queue
{imported}

class QueueManager(BaseManager):
    pass

QueueManager.register("get_task_queue")
QueueManager.register("get_result_queue")
manager = QueueManager(address=("127.0.0.1", {port}), authkey=b"abc")
manager.connect()
tasks = manager.get_task_queue()
results = manager.get_result_queue()
try:
    results.get(timeout=0.01)
except queue.Empty:
    print("no results yet")
for _ in range(10):
    n = tasks.get(timeout=20)
    results.put("%d * %d = %d" % (n, n, n * n))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "imported",
    ["from multiprocessing.managers import BaseManager", "from longboat.brokers.manager import PlainManager as BaseManager"],
)
def test_the_classic_programs(imported: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    programs = {"master": MASTER, "worker": WORKER}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text.format(imported=imported, port=port))
    started = [sys.executable, str(tmp_path / "master.py")]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as master:
        assert master.stdout is not None
        assert master.stdout.readline() == "ready\n"
        worker = subprocess.run([sys.executable, str(tmp_path / "worker.py")], capture_output=True, text=True, check=False)
        out, err = master.communicate(timeout=30)
    assert (worker.stdout, worker.stderr, worker.returncode) == ("no results yet\n", "", 0)
    assert (err, master.returncode) == ("", 0)
    assert out.splitlines() == [*(f"{n} * {n} = {n * n}" for n in range(10)), "True 0"]


class Plain(PlainManager): ...


class Standard(BaseManager): ...


def a_box() -> dict[str, set[int]]:
    return {"set": {1}}


def test_what_cannot_be_is_said() -> None:
    Plain.register("get_box", callable=a_box)
    with Plain(authkey=b"key") as plain:
        assert plain.address[0] == "127.0.0.1"  # type: ignore[index]  # a pair, with TCP
        box = plain.get_box()  # type: ignore[attr-defined]  # it was registered
        with pytest.raises(TypeError, match="of type object is not plain data"):
            box.get(object())
        with pytest.raises(RemoteError, match="of type dict_items is not plain data"):
            box.items()
    refused = pytest.raises(AuthenticationError, match="neither `longboat serve` nor a PlainManager")
    with Standard(("127.0.0.1", 0), authkey=b"key") as standard, refused:
        Plain(standard.address, b"key").connect()  # type: ignore[arg-type]  # a pair, with TCP
