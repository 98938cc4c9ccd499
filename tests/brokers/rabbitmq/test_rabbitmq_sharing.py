"""RabbitMQ alone, workers with one slot each: no idle one is passed over for one that is busy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat, current, gather
from tests.rigs.broker import URLS
from tests.rigs.harnesses import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]

ONE_SLOT: dict[str, Any] = {"queues": ["default"], "concurrency": 1, "threads": 1}


def test_an_idle_worker_is_never_passed_over(tmp_path: Path) -> None:
    """While one worker runs a long job, the other runs all that come: also when the busy one was asked for last."""
    began, over = threading.Event(), threading.Event()
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as app:

        @app.task(name="long")
        def long() -> str:
            began.set()
            assert over.wait(30)
            return current().worker

        @app.task(name="short")
        def short() -> str:
            return current().worker

        with app.worker(**ONE_SLOT) as one, app.worker(**ONE_SLOT) as two:
            for _ in range(6):
                began.clear()
                over.clear()
                held = long.enqueue()
                assert began.wait(20)
                ran = gather(*short.enqueue_many([()] * 2)).result("10s")
                ran += gather(short.enqueue(), short.enqueue()).result("10s")
                over.set()
                assert {*ran, held.result("10s")} == {one.name, two.name}
                assert len(set(ran)) == 1
