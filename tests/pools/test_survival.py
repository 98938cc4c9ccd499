"""What is killed in the middle: workers, child processes, and the program itself, which comes back by its batch's name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from longboat import ConfigError, Executor, Longboat, Pool
from tests.apps import pool_functions as functions
from tests.pools.rig import KEY, workers
from tests.rigs.waiting import until

pytestmark = pytest.mark.slow

NUMBER = 24

PROGRAM = f"""
import sys
from longboat import Executor, Longboat
from tests.apps.pool_functions import marked

if __name__ == "__main__":
    folder, url, pickle = sys.argv[1:]
    app = Longboat(url, pickle=bool(pickle)) if url else None
    with Executor(app, workers=None if app else 2, batch="night-42", pickle=bool(pickle)) as pool:
        for value in pool.map(marked, [folder] * {NUMBER}, range({NUMBER})):
            print(value, flush=True)
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_PICKLE_KEY", KEY)


def runs(marks: Path) -> list[int]:
    """The numbers of all runs."""
    return [int(file.name.partition("-")[0]) for file in marks.iterdir()]


def kill_one(marks: Path) -> None:
    """Kill a process that runs a call."""
    until(lambda: any(file.read_text() for file in marks.iterdir()))
    newest = max((file for file in marks.iterdir() if file.read_text()), key=lambda file: file.name.partition("-")[2])
    os.kill(int(newest.read_text()), signal.SIGKILL)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def mapped(app: Longboat, marks: Path, pickle: bool) -> Callable[[], list[int]]:
    pool = Executor(app, pickle=pickle)
    values = pool.map(functions.marked, [str(marks)] * NUMBER, range(NUMBER))
    pool.shutdown(wait=False)
    return lambda: list(values)


def starmapped(app: Longboat, marks: Path, pickle: bool) -> Callable[[], list[int]]:
    pool = Pool(app, 2, pickle=pickle)
    result = pool.starmap_async(functions.marked, [(str(marks), number) for number in range(NUMBER)])
    pool.close()
    return lambda: result.get(60)


@pytest.mark.parametrize(("start", "pickle"), [(mapped, False), (starmapped, True)])
def test_every_value_comes_although_a_worker_is_killed(
    start: Callable[[Longboat, Path, bool], Callable[[], list[int]]], pickle: bool, tmp_path: Path, marks: Path
) -> None:
    """Without pickle a call runs in a worker process itself, else in a child process of one."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with workers(tmp_path, url), Longboat(url, pickle=True) as app:
        values = start(app, marks, pickle)
        kill_one(marks)
        assert values() == list(range(NUMBER))
    assert len(runs(marks)) > NUMBER, "nothing ran again"


@pytest.mark.parametrize("way", ["private", "app", "pickle"])
def test_a_program_that_was_killed_finds_what_has_ended(way: str, tmp_path: Path, marks: Path) -> None:
    url = "" if way == "private" else f"sqlite:///{tmp_path / 'jobs.db'}"
    command = [sys.executable, "-c", PROGRAM, str(marks), url, "yes" if way == "pickle" else ""]
    if not url:
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        command[1:3] = [str(program)]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(Path(__file__).parents[2])}

    def survive() -> None:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            ended = [int(first.stdout.readline()) for _ in range(3)]
            first.kill()
            ended += [int(line) for line in first.stdout if line.endswith("\n")]
        again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert [int(line) for line in again.stdout.split()] == list(range(NUMBER))
        assert len(ended) < NUMBER
        ran = runs(marks)
        assert [ran.count(number) for number in ended] == [1] * len(ended)
        third = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert third.stdout == again.stdout
        assert len(runs(marks)) == len(ran)

    if url:
        with workers(tmp_path, url):
            survive()
    else:
        survive()


@pytest.mark.parametrize("private", [True, False])
def test_a_pool_that_was_terminated_comes_back_by_its_batch(
    private: bool, tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    url, calls = f"sqlite:///{tmp_path / 'jobs.db'}", [(str(marks), number) for number in range(NUMBER)]
    with workers(tmp_path, url) if not private else nullcontext(), Longboat(url) as app:
        where = None if private else app
        with Pool(where, 1, batch="night-42") as pool:
            first = [pool.apply_async(functions.marked, call) for call in calls]
            ended = [first[place].get(60) for place in range(3)]
        with Pool(where, 1, batch="night-42") as pool:
            assert pool.starmap(functions.marked, calls, chunksize=1) == list(range(NUMBER))
    assert [runs(marks).count(number) for number in ended] == [1, 1, 1]


def test_equal_calls_of_a_batch_are_different_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for _ in range(2):
        with Executor(workers=1, batch="dice") as pool:
            futures = [pool.submit(functions.square, 3), pool.submit(functions.square, 3), pool.submit(functions.square, 4)]
            assert [future.result(60) for future in futures] == [9, 9, 16]
            assert len({future.id for future in futures}) == 3
    assert [folder.stat().st_mode & 0o777 for folder in (tmp_path / "longboat" / "batches").iterdir()] == [0o700]


def test_a_batch_has_a_name() -> None:
    for wrong in ("", "x" * 101, "a\nb"):
        with pytest.raises(ConfigError, match="batch"):
            Executor(batch=wrong)
