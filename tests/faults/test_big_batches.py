"""Batches of big messages are cut by their bytes, so that each call is answered in time, whatever they are together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.contract.broker import Token
from longboat.core.job import Job
from longboat.core.portions import BYTES
from tests.rigs.broker import URLS
from tests.rigs.harnesses import unavailable

SIZE, NUMBER = 300_000, 20
"""Together three times what travels at once."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", *URLS])
def test_many_big_jobs_are_put_by_bytes_and_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := unavailable(kind):
        pytest.skip(reason)
    if kind == "sqlite":
        check(f"sqlite:///{tmp_path}/jobs.db", monkeypatch)
    else:
        with URLS[kind](tmp_path) as url:
            check(url, monkeypatch)


def check(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Longboat(url)

    @app.task(name="double")
    def double(data: bytes) -> bytes:
        return data + data

    broker, sizes = app.client.broker, []
    put = broker.put

    def weighed(jobs: Sequence[Job], *, token: Token | None = None) -> list[str]:
        sizes.append(sum(len(job.payload) for job in jobs))
        return put(jobs, token=token)

    monkeypatch.setattr(broker, "put", weighed)
    handles = double.enqueue_many([(bytes([n]) * SIZE,) for n in range(NUMBER)])
    assert max(sizes) <= BYTES < sum(sizes)
    with app.worker(concurrency=2):
        for n, handle in enumerate(handles):
            assert handle.result(timeout=30) == bytes([n]) * 2 * SIZE
    app.close()
