"""`longboat demo`: measure Python's standard library through a real worker, and check the report against a plain loop."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from longboat.cli.demo_worker import DemoFailed, worker
from longboat.cli.fail import DONE, FAILED
from longboat.errors import LongboatError

if TYPE_CHECKING:
    from longboat.cli.demo_tasks import Measures
    from longboat.tasks.handle import Handle

T = TypeVar("T")

NAPS, NAP = 200, 0.05
DIGESTS = 100
PUT = 100
"""Files in one put; each put mixes the three kinds of jobs."""
SHOWN = 12
"""Packages in the table."""
PATIENCE = 60.0
"""Seconds without any result after which the demo gives up."""


class Work(NamedTuple):
    """What was computed, and in how many seconds."""

    measures: dict[str, Measures]
    """By path in the library."""
    digests: dict[str, str]
    took: float


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Child processes of the worker.",
)
def command(processes: int) -> int:
    """Run real work through a real worker: one job for every source file of Python's standard library.

    The worker parses and measures the files in child processes, beside coroutines and threads; the report is checked
    against a plain loop. It takes a few seconds, needs nothing, and leaves nothing behind.

    Exit status: 0 the reports are equal, 1 not.
    """
    files = sources()
    click.echo(f"{len(files):,} source files of the standard library of Python {sys.version.split()[0]}, one job each.")
    try:
        with tempfile.TemporaryDirectory(prefix="longboat-demo-") as folder:
            ours = through_worker(f"sqlite:///{folder}/jobs.db", Path(folder), files, processes)
        click.echo("The worker has exited. Now the same files in a plain loop, in this process …")
        plain = in_a_loop(files)
        compare(ours, plain)
    except (DemoFailed, LongboatError) as failed:
        click.echo(f"longboat demo: {failed}", err=True)
        return FAILED
    report(ours, plain, processes)
    return DONE


def sources() -> dict[str, str]:
    """Path in the library -> full path, of each source file of the running Python's standard library."""
    root = sysconfig.get_path("stdlib")
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".py") and os.access(path, os.R_OK):
                found[os.path.relpath(path, root)] = path
    return found


def through_worker(url: str, folder: Path, files: Mapping[str, str], processes: int) -> Work:
    """The results of a worker process, and the seconds from the first put to the last result."""
    os.environ["LONGBOAT_URL"] = url  # read when the app is imported, in the next line
    from longboat.cli.demo_tasks import app, digest, measure, nap

    with worker(url, folder, processes) as process, app:
        started = time.monotonic()
        collect([nap.enqueue(0.0)], process)
        click.echo(
            f"A worker is up after {since(started)}: an event loop, threads and {processes} child processes, on {url}"
        )

        began = time.monotonic()
        names = list(files)
        measures: list[Handle[Measures]] = []
        digests: list[Handle[str]] = []
        naps: list[Handle[float]] = []
        puts = -(-len(names) // PUT)
        for number in range(puts):
            naps += nap.enqueue_many([(NAP,)] * len(share(range(NAPS), number, puts)))
            digests += digest.enqueue_many([(files[name],) for name in share(names[:DIGESTS], number, puts)])
            measures += measure.enqueue_many([(files[name],) for name in share(names, number, puts)])
        handles: list[Handle[Any]] = [*measures, *digests, *naps]
        mixture = f"{len(naps)} coroutines and {len(digests)} thread jobs among them"
        click.echo(f"{len(handles):,} jobs were enqueued in {since(began)}, {mixture}.")
        values = collect(handles, process)
        took = time.monotonic() - began
    return Work(
        {name: values[handle.id] for name, handle in zip(names, measures, strict=True)},
        {name: values[handle.id] for name, handle in zip(names[:DIGESTS], digests, strict=True)},
        took,
    )


def share(items: Sequence[T], number: int, of: int) -> Sequence[T]:
    """Part `number`, from 0, of so many nearly equal parts."""
    return items[len(items) * number // of : len(items) * (number + 1) // of]


def collect(handles: Sequence[Handle[Any]], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The results by job id. Raises DemoFailed if a job fails, or the worker dies or stalls."""
    arrived: queue.SimpleQueue[tuple[str, Any] | Exception] = queue.SimpleQueue()
    threading.Thread(target=_gather, args=(handles, arrived.put), daemon=True).start()
    values: dict[str, Any] = {}
    last = time.monotonic()
    with progress(len(handles)) as advance:
        while len(values) < len(handles):
            try:
                what = arrived.get(timeout=0.2)
            except queue.Empty:
                if process.poll() is not None:
                    raise DemoFailed(f"the worker died with status {process.returncode}.") from None
                if time.monotonic() - last > PATIENCE:
                    raise DemoFailed(f"the worker gave no result for {PATIENCE:g} s.") from None
                continue
            if isinstance(what, Exception):
                raise DemoFailed(str(what)) from None
            values[what[0]] = what[1]
            last = time.monotonic()
            advance(1)
    return values


def _gather(handles: Sequence[Handle[Any]], put: Callable[[tuple[str, Any] | Exception], None]) -> None:
    """Runs in its own thread, so that the main thread can watch the worker too."""
    from longboat import as_completed

    try:
        for handle in as_completed(handles):
            put((handle.id, handle.result()))
    except Exception as error:  # raised by `collect`
        put(error)


@contextmanager
def progress(length: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, elsewhere a line every fifth of the way; nothing for a single job."""
    if length == 1:
        yield lambda _: None
        return
    if sys.stdout.isatty():
        with click.progressbar(length=length, label="Measuring", show_pos=True) as bar:
            yield bar.update
        return
    done = 0

    def count(more: int) -> None:
        nonlocal done
        before, done = done, done + more
        if before * 5 // length != done * 5 // length:
            click.echo(f"  {done * 100 // length:>3} %  {done:,} of {length:,}")

    yield count


def in_a_loop(files: Mapping[str, str]) -> Work:
    """What the jobs compute, one after another in this process, without the naps."""
    from longboat.cli.demo_tasks import digest, measure

    began = time.monotonic()
    digests = {name: digest(files[name]) for name in list(files)[:DIGESTS]}
    measures = {name: measure(path) for name, path in files.items()}
    return Work(measures, digests, time.monotonic() - began)


def compare(ours: Work, plain: Work) -> None:
    """Raises DemoFailed, naming the first difference."""
    pairs: list[tuple[Mapping[str, object], Mapping[str, object]]]
    pairs = [(ours.measures, plain.measures), (ours.digests, plain.digests)]
    for got, expected in pairs:
        different = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
        if different:
            name = different[0]
            raise DemoFailed(
                f"{len(different)} results differ from the plain loop's. The first is that of {name}:\n"
                f"  worker: {got.get(name)}\n  loop:   {expected.get(name)}"
            )


def report(ours: Work, plain: Work, processes: int) -> None:
    from longboat.cli.demo_report import reduce, table, total

    click.echo()
    for line in table(reduce(ours.measures), total(ours.measures), SHOWN):
        click.echo(line)
    click.echo()
    click.echo("The worker's report is equal to the plain loop's.")
    click.echo(f"  worker      {ours.took:6.2f} s   beside {NAPS} coroutines that slept {NAPS * NAP:g} s in total")
    click.echo(f"  plain loop  {plain.took:6.2f} s   without them")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    click.echo(f"  speed-up    {plain.took / ours.took:6.2f}     with {processes} child processes on {cores} cores")


def since(began: float) -> str:
    return f"{time.monotonic() - began:.2f} s"
