"""The executor: without an app and with one, with exceptions, cancelling, signals and its end."""

from __future__ import annotations

import concurrent.futures
import math
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from longboat import BadArguments, ConfigError, Executor, JobFailed, Longboat, State
from longboat.pools.frames import BIG
from longboat.pools.jobs import _open
from tests.apps import pool_functions as functions
from tests.pools.rig import kill
from tests.rigs.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with Executor(workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def any_pool() -> Iterator[Executor]:
    with Executor(workers=2, pickle=True) as made:
        yield made


def test_values_come_back_in_order(pool: Executor) -> None:
    assert pool.submit(functions.square, 3).result(60) == 9
    for size in (1, 3, 100):
        assert list(pool.map(functions.square, range(10), chunksize=size)) == [n * n for n in range(10)]
    assert list(pool.map(pow, [2, 3], [3, 4, 5])) == [8, 81]
    assert list(pool.map(functions.square, [])) == []


def test_arguments_and_results_are_what_the_annotations_say(pool: Executor) -> None:
    assert pool.submit(functions.mirrored, functions.Point(1, 2)).result(60) == functions.Point(2, 1)
    assert pool.submit(functions.greeted, "Ann").result(60) == "hello Ann"
    assert pool.submit(math.gcd, 12, 18).result(60) == 6
    assert pool.submit(dict, a=1).result(60) == {"a": 1}


@pytest.mark.parametrize("fn", [lambda: 1, functions.Point(1, 2).__eq__, "a".upper])
def test_what_has_no_name_elsewhere_needs_pickle(fn: Any, pool: Executor) -> None:
    with pytest.raises(ConfigError, match=r"pickle=True"):
        pool.submit(fn)


def test_what_is_no_plain_data_is_refused_where_it_is_sent(pool: Executor) -> None:
    with pytest.raises(BadArguments, match="number"):
        pool.submit(functions.square, "three")  # type: ignore[call-overload]  # that is the point
    with pytest.raises(BadArguments):
        pool.submit(len, object())  # type: ignore[call-overload]  # that is the point
    with pytest.raises(TypeError, match="does not travel as plain data"):
        pool.submit(functions.odd).result(60)


def test_anything_travels_by_pickle(any_pool: Executor) -> None:
    point = functions.Point(3, 4)
    assert any_pool.submit(point.__eq__, functions.Point(3, 4)).result(60) is True
    assert list(any_pool.map(functions.Point, [1, 2], [3, 4], chunksize=2)) == [functions.Point(1, 3), functions.Point(2, 4)]
    with pytest.raises(functions.OutOfPaper) as caught:
        any_pool.submit(functions.fail, "own").result(60)
    assert caught.value.tray == 3
    with pytest.raises(ConfigError, match="cannot be pickled"):
        any_pool.submit(threading.Lock().acquire)


RAISED = [
    ("key", KeyError, "'shelf'"),
    ("value", ValueError, "too large"),
    ("file", FileNotFoundError, "[Errno 2] No such file or directory: 'paper.txt'"),
    ("own", functions.OutOfPaper, "(3, 0)"),
    ("exit", SystemExit, "4"),
]


@pytest.mark.parametrize(("kind", "error", "text"), RAISED)
def test_what_was_raised_comes_back(kind: str, error: type[BaseException], text: str, pool: Executor) -> None:
    with pytest.raises(error) as caught:
        pool.submit(functions.fail, kind).result(60)
    assert str(caught.value) == text
    assert isinstance(caught.value.__cause__, JobFailed)
    assert "in fail" in caught.value.__cause__.traceback


def test_a_class_that_is_not_here_is_told_by_job_failed(pool: Executor) -> None:
    with pytest.raises(JobFailed, match="hidden") as caught:
        pool.submit(functions.fail, "local").result(60)
    assert caught.value.type.endswith("Local")


def test_an_error_ends_the_iterator_at_its_place(pool: Executor) -> None:
    results = pool.map(divmod, [1, 1, 1], [2, 0, 3])
    assert list(next(results)) == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_standard_library_waits_for_its_futures(pool: Executor, tmp_path: Path) -> None:
    go = tmp_path / "go"
    first, second = pool.submit(functions.square, 2), pool.submit(functions.wait_for, str(go), 5)
    done, waiting = concurrent.futures.wait([first, second], 60, concurrent.futures.FIRST_COMPLETED)
    assert (done, waiting) == ({first}, {second})
    with pytest.raises(TimeoutError):
        next(pool.map(functions.wait_for, [str(go)], timeout=0.05))
    until(second.running)
    called = threading.Event()
    second.add_done_callback(lambda _: called.set())
    go.touch()
    assert [future.result() for future in concurrent.futures.as_completed([second], 60)] == [5]
    assert called.wait(60)
    assert not second.running()


def test_what_no_worker_has_taken_can_be_cancelled(tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Executor(workers=1) as pool:
        futures = [pool.submit(functions.wait_for, str(go), n) for n in range(30)]
        until(futures[0].running)
        assert not futures[0].cancel()
        assert futures[-1].cancel()
        assert futures[-1].cancel()
        assert futures[-1].cancelled()
        pool.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(functions.square, 1)
        go.touch()
    ended = [future.result() for future in futures if not future.cancelled()]
    assert 0 < len(ended) < 20
    assert ended == list(range(len(ended)))


def test_a_function_that_kills_its_process_runs_again(pool: Executor, tmp_path: Path) -> None:
    assert pool.submit(functions.die, str(tmp_path), 2).result(60) == 2


def test_one_that_always_kills_it_fails_alone(pool: Executor, tmp_path: Path) -> None:
    future, other = pool.submit(functions.die, str(tmp_path), 1000), pool.submit(functions.square, 4)
    with pytest.raises(JobFailed, match="Killed") as caught:
        future.result(60)
    assert caught.value.attempts == 5
    assert other.result(60) == 16


@pytest.mark.parametrize("size", [1, 4])
def test_every_future_has_its_value_although_children_are_killed(size: int, tmp_path: Path) -> None:
    with Executor(workers=2) as pool:
        results = pool.map(functions.marked, [str(tmp_path)] * 40, range(40), chunksize=size)
        kill(4, tmp_path)  # fewer than a job has attempts
        assert list(results) == list(range(40))
    assert len(list(tmp_path.iterdir())) > 40, "nothing ran again"


def test_nothing_is_left_at_the_end_and_large_data_is_in_private_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pool = Executor(workers=1, pickle=True)
    children = set(psutil.Process().children(recursive=True))
    future = pool.submit(functions.wait_for, str(tmp_path / "go"), large := 1 << 8 * BIG)
    started = set(psutil.Process().children(recursive=True)) - children
    (folder,) = tmp_path.glob("longboat-*")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())] == [0o700, 0o600]
    (tmp_path / "go").touch()
    assert future.result(60) == large
    pool.shutdown()
    assert not folder.exists()
    with Executor(workers=1) as plain:
        assert plain.submit(functions.square, 2).result(60) == 4
        assert not list(tmp_path.glob("longboat-*"))
    left = [child for child in started if child.is_running() and "forkserver" not in " ".join(child.cmdline())]
    assert [child for child in left if "tracker" not in " ".join(child.cmdline())] == []


def test_one_that_is_dropped_ends() -> None:
    pool = Executor(workers=1)
    assert pool._jobs in _open
    jobs, future = pool._jobs, pool.submit(functions.square, 7)
    del pool
    assert future.result(60) == 49
    until(lambda: jobs not in _open)


def test_results_that_have_come_are_not_kept(pool: Executor) -> None:
    assert len(list(pool.map(functions.square, range(300)))) == 300
    counts = pool._jobs.route.app.client.broker.inspector.counts
    until(lambda: all(state is not State.SUCCEEDED for _, state in counts()))


def test_it_belongs_to_the_process_that_made_it(pool: Executor) -> None:
    assert pool.submit(functions.square, 3).result(60) == 9
    if (child := os.fork()) == 0:
        try:
            pool.submit(functions.square, 3)
        except RuntimeError as error:
            os._exit(40 + ("another one here" in str(error)))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 41


@pytest.mark.parametrize("last", ["", "pool.shutdown(wait=False)", "del pool"])
def test_a_program_ends_after_its_last_call(last: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\nfrom longboat import Executor\n"
        "def later(text: str) -> None:\n    time.sleep(0.5)\n    print(text, flush=True)\n"
        "if __name__ == '__main__':\n    pool = Executor(workers=1)\n    pool.submit(later, 'ended')\n"
        f"    {last or 'pass'}\n"
    )
    with tempfile.TemporaryDirectory() as temporary:  # a socket's path has a hundred characters at most
        done = subprocess.run(
            [sys.executable, str(program)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "TMPDIR": temporary},
        )
        assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)
        assert list(Path(temporary).glob("longboat-*")) == []


def test_options_that_cannot_be_meant(app: Longboat) -> None:
    for wrong in ({"app": app, "workers": 2}, {"app": app, "pickle": True}, {"workers": 0}):
        with pytest.raises(ConfigError, match=r"workers|pickle|processes"):
            Executor(**wrong)
    with Executor(app) as pool, pytest.raises(ValueError, match="chunksize"):
        pool.map(functions.square, [1], chunksize=0)


# --- with an app


def test_with_an_app_its_workers_run_the_calls(app: Longboat) -> None:
    @app.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    with app.worker(), Executor(app) as pool:
        assert list(pool.map(functions.square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]
        assert pool.submit(double, 4).result(60) == 8
        assert pool.submit(functions.greeted, name="Ann").result(60) == "hello Ann"
        for kind, error, text in RAISED[:2]:
            with pytest.raises(error) as caught:
                pool.submit(functions.fail, kind).result(60)
            assert str(caught.value) == text
            assert isinstance(caught.value.__cause__, JobFailed)
        with pytest.raises(JobFailed, match="OutOfPaper"):  # of an attempt, its message is kept, not its arguments
            pool.submit(functions.fail, "own").result(60)
        with pytest.raises(ConfigError, match="top of a module"):
            pool.submit(lambda: 1)


def test_a_job_that_is_cancelled_elsewhere_cancels_its_future(app: Longboat) -> None:
    pool = Executor(app)
    first, second = pool.submit(functions.square, 1), pool.submit(functions.square, 2)
    assert app.job(first.id).cancel()
    assert second.cancel()
    concurrent.futures.wait([first, second], 60)
    assert first.cancelled()
    assert second.cancelled()
    pool.shutdown()


def test_jobs_of_an_app_outlive_the_program(app: Longboat) -> None:
    pool = Executor(app)
    future = pool.submit(functions.square, 6)
    pool.shutdown(wait=False)
    handle = app.job(future.id)
    with app.worker(burst=True):
        assert handle.result(60) == 36
    assert future.result(60) == 36


@pytest.mark.parametrize("fn", [functions.square, functions.anything, functions.defaulted])
def test_calls_of_a_chunk_are_as_single_ones(fn: Any, pool: Executor) -> None:
    """Those of the first travel together, since its annotation says what arrives."""
    assert list(pool.map(fn, [3, 4], chunksize=2)) == [pool.submit(fn, n).result(60) for n in (3, 4)]
    with pytest.raises(BadArguments, match=r"argument 'number'|cannot be|object"):
        pool.map(fn, [3, object()], chunksize=2)


def test_a_result_of_a_chunk_that_is_not_what_its_annotation_says(pool: Executor) -> None:
    with pytest.raises(TypeError, match="does not travel as plain data"):
        list(pool.map(functions.untrue, [1, 2], chunksize=2))
