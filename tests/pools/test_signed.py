"""Pickled calls by way of an app: what travels, in the child processes of its workers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from longboat import Executor, JobFailed, Longboat, Pool
from tests.apps import pool_functions as functions
from tests.pools.rig import KEY, workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Longboat]:
    folder = tmp_path_factory.mktemp("signed")
    url = f"sqlite:///{folder / 'jobs.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGBOAT_PICKLE_KEY", KEY)
        with workers(folder, url), Longboat(url, pickle=True) as made:
            yield made


def test_anything_travels(app: Longboat) -> None:
    more = 2
    with Executor(app, pickle=True) as pool:
        assert list(pool.map(lambda n: n + more, range(10), chunksize=4)) == list(range(2, 12))
        assert pool.submit("{}-{}".format, 1, (2, 3)).result(60) == "1-(2, 3)"
        assert pool.submit(functions.greeted, "Ann").result(60) == "hello Ann"
        assert pool.submit(os.getpid).result(60) != os.getpid()
        with pytest.raises(functions.OutOfPaper) as caught:
            pool.submit(functions.fail, "own").result(60)
        assert caught.value.tray == 3
        with pytest.raises(JobFailed, match=r"TooLarge|limit"):
            pool.submit(bytes, 2_000_000).result(60)


def test_each_child_is_initialized_for_each_pool(app: Longboat) -> None:
    times: dict[str, int] = {}
    for _ in range(2):
        with Pool(app, initializer=functions.start, initargs=("far",), pickle=True) as pool:
            answers = [pool.apply_async(functions.started) for _ in range(6)]
            by_pid = {answer.get(60)[-1]: len(answer.get(60)) - 1 for answer in answers}
        times |= {pid: times.get(pid, 0) + 1 for pid in by_pid}
        assert by_pid == {pid: times[pid] for pid in by_pid}
