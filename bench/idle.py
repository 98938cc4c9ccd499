"""What Longboat costs when it does nothing: an idle worker's memory and CPU, and the time of an import and of --help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.figure import Figure, Plan, Tell
from bench.place import ROOT, folder, inspector, until, url, worker

SECONDS = 10.0
STARTS = 7


def figures(plan: Plan, tell: Tell) -> Iterator[Figure]:
    seconds = 2.0 if plan.quick else SECONDS
    tell(f"idle worker, {seconds:g} s")
    memory, resident, percent = idle(seconds)
    yield Figure(
        "idle worker, memory", "MB", [memory], 30, least=False, entry=f"PSS of its processes; RSS {resident:.0f} MB"
    )
    yield Figure("idle worker, CPU", "%", [percent], 0.2, least=False, entry=f"all its processes, over {seconds:g} s")
    tell("starts")
    bare, imported, helped = [], [], []
    for _ in range(STARTS):
        bare.append(start(["-c", "pass"]))
        imported.append(start(["-c", "import longboat"]))
        helped.append(start(["-m", "longboat", "--help"]))
    python = median(bare)
    yield Figure("import longboat", "ms", [ms - python for ms in imported], 100, least=False, entry="beyond Python's start")
    yield Figure("longboat --help", "ms", helped, 150, least=False, entry=f"of which Python's own start is {python:.0f} ms")


def idle(seconds: float) -> tuple[float, float, float]:
    """(PSS in MB, RSS in MB, CPU in percent) of the whole tree."""
    with folder() as path:
        address = url(path, "full")
        with worker(address) as process, inspector(address) as look:
            until(lambda: bool(look.consumers()), process)
            time.sleep(min(3.0, seconds))
            begun, before = time.perf_counter(), sum(map(cpu, tree(process.pid)))
            time.sleep(seconds)
            used = sum(map(cpu, tree(process.pid))) - before
            passed = time.perf_counter() - begun
            pids = tree(process.pid)
            return sum(memory(pid, "Pss") for pid in pids), sum(memory(pid, "Rss") for pid in pids), used / passed * 100


def tree(pid: int) -> list[int]:
    """The process, and all below it."""
    below = [int(text) for task in Path(f"/proc/{pid}/task").iterdir() for text in (task / "children").read_text().split()]
    return [pid, *(one for child in below for one in tree(child))]


def memory(pid: int, what: str) -> float:
    """In MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == what:
            return int(size.split()[0]) * 1024 / 1e6
    raise ValueError(f"no {what} is told of process {pid}")


def cpu(pid: int) -> float:
    """Seconds used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(arguments: list[str]) -> float:
    """Milliseconds from start to end of a Python process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1e3
