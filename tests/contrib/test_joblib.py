"""joblib's backend, with joblib and scikit-learn themselves."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longboat import ConfigError, Longboat
from tests.apps import pool_functions
from tests.pools.rig import KEY, workers
from tests.rigs.waiting import until

pytestmark = pytest.mark.slow

joblib = pytest.importorskip("joblib")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402  # it need not be there

import longboat.contrib.joblib as door  # noqa: E402  # after the check that joblib is there


@pytest.fixture
def ours() -> Iterator[None]:
    with parallel_config("longboat", n_jobs=2):
        yield


@pytest.fixture(scope="module", autouse=True)
def end() -> Iterator[None]:
    yield
    for _, pool in door._pools.values():
        pool.terminate()
    door._pools.clear()


@functools.cache
def by_loky() -> tuple[Any, list[float]]:
    return searched("loky")


def searched(backend: str, **more: Any) -> tuple[Any, list[float]]:
    svm, datasets = pytest.importorskip("sklearn.svm"), pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import GridSearchCV

    data, kinds = datasets.make_classification(120, 6, random_state=0)
    with parallel_config(backend, n_jobs=2, **more):
        found = GridSearchCV(svm.SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}, cv=3).fit(data, kinds)
    return found.best_params_, found.cv_results_["mean_test_score"].tolist()


def test_a_grid_search_finds_what_it_finds_over_loky() -> None:
    assert searched("longboat") == by_loky()


@pytest.mark.usefixtures("ours")
def test_small_calls_are_batched() -> None:
    sizes: list[int] = []

    class Counted(door.LongboatBackend):
        def submit(self, func: Any, callback: Any = None) -> Any:
            sizes.append(len(func))
            return super().submit(func, callback)

    with parallel_config(Counted(), n_jobs=2):
        assert Parallel()(delayed(pool_functions.square)(n) for n in range(3000)) == [n * n for n in range(3000)]
    assert max(sizes) > 8


@pytest.mark.usefixtures("ours")
def test_parallel_within_parallel() -> None:
    found = Parallel()(delayed(nested)(n) for n in range(5))
    assert [total for total, _ in found] == [0, 0, 1, 5, 14]
    assert os.getpid() not in {pid for _, pid in found}


def nested(number: int) -> tuple[int, int]:
    return sum(Parallel(n_jobs=2)(delayed(pool_functions.square)(n) for n in range(number))), os.getpid()


def looked_at(array: Any) -> tuple[str, str, float]:
    return type(array).__name__, str(getattr(array, "filename", "")), float(array.sum())


@pytest.mark.usefixtures("ours")
def test_a_large_array_is_written_once_and_mapped(tmp_path: Path) -> None:
    array, small = np.ones(200_000), np.ones(10)
    found = Parallel(temp_folder=str(tmp_path), batch_size=1)(delayed(looked_at)(array) for _ in range(6))
    assert len(set(found)) == 1
    kind, file, total = found[0]
    assert (kind, total) == ("memmap", 200_000.0)
    assert Path(file).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == [], "it is removed after the call"
    assert Parallel()(delayed(looked_at)(array=each) for each in [small]) == [("ndarray", "", 10.0)]
    (doubled,) = Parallel()(delayed(np.multiply)(each, 2) for each in [array])
    assert doubled.flags.writeable
    assert doubled.sum() == 400_000


@pytest.mark.usefixtures("ours")
def test_what_is_raised_comes_back_and_the_next_call_works(tmp_path: Path) -> None:
    with pytest.raises(pool_functions.OutOfPaper):
        Parallel(batch_size=1)(
            [
                delayed(pool_functions.fail)("own"),
                *(delayed(pool_functions.wait_for)(str(tmp_path / "never")) for _ in range(3)),
            ]
        )
    assert Parallel()(delayed(pool_functions.square)(n) for n in range(3)) == [0, 1, 4]


@pytest.mark.usefixtures("ours")
def test_every_value_comes_although_a_child_is_killed(tmp_path: Path) -> None:
    def kill() -> None:
        until(lambda: any(file.read_text() for file in tmp_path.iterdir()))
        os.kill(int(next(file.read_text() for file in tmp_path.iterdir() if file.read_text())), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert Parallel()(delayed(pool_functions.marked)(str(tmp_path), n) for n in range(12)) == list(range(12))
    killer.join()
    assert len(list(tmp_path.iterdir())) > 12, "nothing ran again"


def test_with_an_app_its_workers_run_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_PICKLE_KEY", KEY)
    url, shared = f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path / "shared"
    shared.mkdir()
    with workers(tmp_path, url) as tree, Longboat(url, pickle=True) as app:
        assert searched("longboat", app=app) == by_loky()
        with parallel_config("longboat", app=app, n_jobs=2, temp_folder=str(shared)):
            found = Parallel()(delayed(looked_at)(np.ones(200_000)) for _ in range(2))
            pids = Parallel()(delayed(os.getpid)() for _ in range(2))
        assert {kind for kind, *_ in found} == {"memmap"}
        assert set(pids) <= tree.members()


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    with Longboat(f"sqlite:///{tmp_path / 'jobs.db'}") as app, parallel_config("longboat", app=app):
        with pytest.raises(ConfigError, match="an app that says so"):
            Parallel(n_jobs=2)(delayed(abs)(n) for n in range(3))
        with pytest.raises(ValueError, match="n_jobs"):
            Parallel(n_jobs=0)(delayed(abs)(n) for n in range(3))
