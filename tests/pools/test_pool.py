"""The pool: without an app and with one, its initializer, callbacks, iterators and ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from longboat import ConfigError, Executor, JobCancelled, JobFailed, Longboat, Pool, State
from longboat.pools.jobs import _open
from tests.apps import pool_functions as functions
from tests.pools.rig import kill
from tests.rigs.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(processes=2) as made:
        yield made


def works(pool: Pool) -> None:
    """Every method does what that of the standard library does."""
    squares = [n * n for n in range(10)]
    assert pool.apply(functions.square, (3,)) == 9
    assert pool.apply(functions.square, kwds={"number": 3}) == 9
    assert pool.apply_async(functions.square, [4]).get(60) == 16
    assert pool.map(functions.square, range(10)) == squares
    assert pool.map_async(functions.square, iter(range(10)), chunksize=3).get(60) == squares
    assert pool.starmap(functions.divided, [(6, 3), (1, 2)]) == [2, 0.5]
    assert pool.starmap_async(functions.divided, [(6, 3)]).get(60) == [2]
    assert list(pool.imap(functions.square, range(10), chunksize=4)) == squares
    assert sorted(pool.imap_unordered(functions.square, iter(range(10)))) == squares


def test_it_works_at_once(pool: Pool) -> None:
    works(pool)


def test_the_number_may_come_first() -> None:
    for kind in (Pool, Executor):
        with kind(1) as one:
            assert len(set(one.map(functions.pid, range(4)))) == 1
        with pytest.raises(ConfigError, match="given twice"):
            kind(1, 2)
        with pytest.raises(ConfigError, match="no app"):
            kind("4")  # type: ignore[arg-type]  # what is wrong on purpose


def test_with_an_app_its_workers_run_the_calls(app: Longboat) -> None:
    with app.worker(), Pool(app) as pool:
        works(pool)
        with pytest.raises(ZeroDivisionError):
            pool.starmap(functions.divided, [(1, 1), (1, 0)])


def test_what_was_raised_comes_back(pool: Pool) -> None:
    with pytest.raises(functions.OutOfPaper) as caught:
        pool.apply(functions.fail, ("own",))
    assert caught.value.tray == 3
    assert isinstance(caught.value.__cause__, JobFailed)
    assert "in fail" in caught.value.__cause__.traceback
    values = pool.imap(functions.fail, ["key", "value"])
    for error in (KeyError, ValueError, StopIteration):
        with pytest.raises(error):
            next(values)


def test_results_are_asked(pool: Pool, tmp_path: Path) -> None:
    go = tmp_path / "go"
    result = pool.apply_async(functions.wait_for, (str(go), 7))
    assert not result.ready()
    result.wait(0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    values = pool.imap(functions.wait_for, [str(go)])
    with pytest.raises(multiprocessing.TimeoutError):
        values.next(timeout=0.01)
    go.touch()
    assert result.get(60) == 7
    assert result.ready()
    assert result.successful()
    assert values.next(timeout=60) == 0
    failed = pool.apply_async(functions.fail, ("key",))
    failed.wait()
    assert not failed.successful()


def test_callbacks_are_called_before_it_is_ready(pool: Pool) -> None:
    said: list[Any] = []
    pool.map_async(functions.square, [1, 2], callback=said.append, error_callback=lambda _: said.append("wrong")).wait()
    pool.apply_async(functions.fail, ("key",), callback=said.append, error_callback=said.append).wait()
    assert said[0] == [1, 4]
    assert isinstance(said[1], KeyError)


def test_a_callback_can_terminate(tmp_path: Path) -> None:
    pool = Pool(processes=2)
    never = pool.apply_async(functions.wait_for, (str(tmp_path / "never"),))
    pool.apply_async(functions.fail, ("key",), error_callback=lambda _: pool.terminate())
    with pytest.raises(JobCancelled):
        never.get(60)
    pool.join()


def test_items_may_come_late_and_the_pool_may_be_closed_meanwhile() -> None:
    more = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        more.wait(60)
        yield 2
        raise LookupError("no more")

    with Pool(processes=1) as pool:
        values = pool.imap(functions.square, items())
        assert next(values) == 1
        pool.close()
        with pytest.raises(ValueError, match="not running"):
            pool.apply(functions.square, (1,))
        more.set()
        assert next(values) == 4
        with pytest.raises(LookupError):
            next(values)
        pool.join()


def test_terminate_ends_what_runs(tmp_path: Path) -> None:
    pool = Pool(processes=1)
    results = [pool.apply_async(functions.marked, (str(tmp_path), 1)) for _ in range(300)]
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    until(lambda: any(file.read_text() for file in tmp_path.iterdir()))
    runs = int(next(file for file in tmp_path.iterdir() if file.read_text()).read_text())
    pool.terminate()
    until(lambda: not psutil.pid_exists(runs))
    with pytest.raises(JobCancelled):
        results[-1].get(60)
    assert pool._jobs not in _open
    with pytest.raises(ValueError, match="not running"), pool:
        pass


def test_terminate_cancels_the_jobs_of_an_app(app: Longboat) -> None:
    pool = Pool(app)
    result = pool.map_async(functions.square, range(3))
    handles = [app.job(future.id) for future in pool._jobs._pending]
    pool.terminate()
    assert [handle.status() for handle in handles] == [State.CANCELLED] * 3
    with pytest.raises(JobCancelled):
        result.get(60)


def test_one_that_is_dropped_is_terminated() -> None:
    pool = Pool(processes=1)
    assert pool._jobs in _open
    jobs, result = pool._jobs, pool.apply_async(functions.square, (3,))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del pool
        assert result.get(60) == 9  # it keeps its pool until then
        until(lambda: gc.collect() >= 0 and jobs not in _open)
    assert [each.category for each in warned] == [ResourceWarning]


@pytest.mark.parametrize("last", ["pass", "pool.close()", "pool.terminate()"])
def test_a_program_that_leaves_its_pool_open_ends(last: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from longboat import Pool\n"
        "if __name__ == '__main__':\n    pool = Pool(processes=1)\n    print(pool.map(abs, [-1, 2]), flush=True)\n"
        f"    {last}\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (done.stdout, done.returncode) == ("[1, 2]\n", 0), done.stderr
    assert list(tmp_path.glob("longboat-*")) == []


def test_processes_are_replaced_after_their_jobs() -> None:
    with Pool(processes=1, maxtasksperchild=2) as pool:
        pids = pool.map(functions.pid, range(6), chunksize=1)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


@pytest.mark.parametrize("pickled", [False, True])
def test_each_process_is_initialized_once(pickled: bool) -> None:
    with Pool(None, 2, functions.start, ("once",), pickle=pickled) as pool:
        answers = [pool.apply_async(functions.started) for _ in range(10)]
        assert {answer.get(60)[0] for answer in answers} == {"once"}
        assert {len(answer.get(60)) for answer in answers} == {2}


def test_an_initializer_that_raises_ends_all_calls() -> None:
    with Pool(None, 1, functions.start, ("bad",)) as pool:
        results = [pool.apply_async(functions.square, (1,)) for _ in range(3)]
        for result in results:
            with pytest.raises(RuntimeError, match="no licence"):
                result.get(60)
        with pytest.raises(RuntimeError, match="no licence"):
            pool.apply(functions.square, (1,))


def test_every_value_comes_although_children_are_killed(tmp_path: Path) -> None:
    with Pool(processes=2) as pool:
        result = pool.starmap_async(functions.marked, [(str(tmp_path), number) for number in range(30)], chunksize=2)
        kill(3, tmp_path)  # fewer than a job has attempts
        assert result.get(60) == list(range(30))
    assert len(list(tmp_path.iterdir())) > 30, "nothing ran again"


def test_options_that_cannot_be_meant(app: Longboat, pool: Pool) -> None:
    for wrong in (
        {"processes": 0},
        {"processes": -1},
        {"maxtasksperchild": 0},
        {"maxtasksperchild": 0.5},
        {"app": app, "maxtasksperchild": 1},
        {"app": app, "initializer": functions.start},
        {"app": app, "pickle": True},
    ):
        with pytest.raises(ValueError, match=r"processes|maxtasksperchild|initializer|pickle"):
            Pool(**wrong)
    with pytest.raises(TypeError, match="callable"):
        Pool(initializer="start")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigError, match="pickle=True"):
        pool.apply(lambda: 1)
    for size in (0, -1):
        with pytest.raises(ValueError, match="chunksize"):
            pool.imap(functions.square, [1], chunksize=size)
    with pytest.raises(NotImplementedError):
        pickle.dumps(pool)
