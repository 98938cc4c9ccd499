"""Whoever can write to the broker of an app that says `pickle=True`, but does not have its key, runs no code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from longboat import ConfigError, Executor, JobFailed, Longboat
from longboat.core.job import Job
from longboat.pools import pickled, signed
from longboat.pools.frames import Bundle
from longboat.pools.pickled import Answer, Calls, Pickled
from longboat.pools.signed import SIZE, Signed
from longboat.pools.way import Packed
from tests.pools.rig import KEY, workers

OTHER = "another key, as long as that of the tests"


class Bomb:
    """Makes a directory when its pickle is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_PICKLE_KEY", KEY)


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    return tmp_path / "loaded"


@pytest.fixture
def bomb(loaded: Path) -> bytes:
    """A call that does it."""
    made = msgspec.msgpack.encode(Calls("", Bundle(pickle.dumps(Bomb(loaded)))))
    pickled.run(made)  # it is ours: it shows that the attack would work
    loaded.rmdir()
    return made


def call(value: int = 3) -> Packed:
    return Signed(Pickled, None).packed(abs, [((value,), {})])


def test_what_is_signed_runs() -> None:
    made = call(-3)
    assert Signed(Pickled, None).opened(signed.run(made.data), made) == [3]


def forgeries(bomb: bytes) -> dict[str, bytes]:
    ours = call().data
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGBOAT_PICKLE_KEY", OTHER)
        by_another_key = signed._sealed(bomb, b"call", OTHER.encode())
    return {
        "not signed": bomb,
        "empty": b"",
        "signed with zeros": b"\0" * SIZE + bomb,
        "signed with another key": by_another_key,
        "the signature of another call": ours[:SIZE] + bomb,
        "an answer instead of a call": signed._sealed(bomb, b"answer" + ours[:SIZE], KEY.encode()),
        "a bit changed": ours[:-1] + bytes([ours[-1] ^ 1]),
    }


def test_a_worker_refuses_what_is_forged(bomb: bytes, loaded: Path) -> None:
    for what, data in forgeries(bomb).items():
        with pytest.raises(PermissionError, match="nothing of it was unpickled"):
            signed.run(data)
        assert not loaded.exists(), what


def test_a_program_refuses_an_answer_that_is_forged(loaded: Path) -> None:
    answer = msgspec.msgpack.encode(Answer(Bundle(pickle.dumps(Bomb(loaded)))))
    mine, other = call(1), call(2)
    forged = [
        answer,
        b"\0" * SIZE + answer,
        signed._sealed(answer, b"call", KEY.encode()),
        signed._sealed(answer, b"answer" + mine.data[:SIZE], OTHER.encode()),
        signed.run(other.data),  # that of another call
    ]
    for data in forged:
        with pytest.raises(PermissionError, match="nothing of it was unpickled"):
            Signed(Pickled, None).opened(data, mine)
    assert not loaded.exists()


def test_without_a_key_nothing_is_sent_and_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = call()
    for short in ("", "too short"):
        monkeypatch.setenv("LONGBOAT_PICKLE_KEY", short)
        with pytest.raises(ConfigError, match="LONGBOAT_PICKLE_KEY must hold"):
            Executor(Longboat("memory://", pickle=True), pickle=True)
        with pytest.raises(ConfigError, match="LONGBOAT_PICKLE_KEY must hold"):
            signed.run(made.data)


def test_an_app_that_does_not_say_so_has_no_such_function() -> None:
    app = Longboat("memory://")
    app.load()
    assert "longboat.pools.signed.run" not in app.registry.names()
    with pytest.raises(ConfigError, match="an app that says so"):
        Executor(app, pickle=True)


@pytest.mark.slow
def test_a_forged_call_in_the_broker_fails_and_says_why(tmp_path: Path, bomb: bytes, loaded: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with workers(tmp_path, url), Longboat(url, pickle=True) as app:
        jobs = []
        for what, data in forgeries(bomb).items():
            payload = app.task_of(signed.run).arguments.encode((data,), {})
            jobs.append(Job(1, what.replace(" ", "-"), "longboat.pools.signed.run", payload, "default"))
        app.broker.put(jobs)
        for job in jobs:
            with pytest.raises(JobFailed, match="nothing of it was unpickled"):
                app.job(job.id).result(60)
        with Executor(app, pickle=True) as pool:
            assert pool.submit(lambda: 5).result(60) == 5
    assert not loaded.exists()


@pytest.mark.slow
def test_a_worker_with_another_key_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with workers(tmp_path, url, OTHER), Longboat(url, pickle=True) as app, Executor(app, pickle=True) as pool:
        future: Any = pool.submit(abs, 1)
        with pytest.raises(PermissionError, match="the same key"):
            future.result(60)
