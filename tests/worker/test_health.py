"""The page about a worker, for probes and for Prometheus."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from longboat import Longboat
from longboat.worker.health import AT_ONCE, Health
from longboat.worker.status import Status
from longboat.worker.worker import Worker
from tests.rigs.waiting import until


def get(url: str, path: str) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def url_of(worker: Worker) -> str:
    assert worker.health is not None
    assert worker.health.up.wait(5)
    return worker.health.url


def test_a_worker_answers_probes_and_scrapes(app: Longboat, tasks: Any) -> None:
    with app.worker(health_port=0) as worker:
        url = url_of(worker)
        assert url.startswith("http://127.0.0.1:")
        for handle in tasks.add.enqueue_many([(1, 2)] * 10):
            handle.result(10)
        assert get(url, "/livez") == (200, "ok\n")
        assert get(url, "/readyz") == (200, "ok\n")
        assert get(url, "/else")[0] == 404
        finished = 'longboat_jobs_finished_total{queue="default",task="add",outcome="succeeded"} 10\n'
        until(lambda: finished in get(url, "/metrics")[1])
        text = get(url, "/metrics?x=1")[1]
        assert 'longboat_jobs_enqueued_total{queue="default",task="add"} 10\n' in text
        assert "longboat_broker_up 1\n" in text
        assert 'longboat_queue_depth{queue="default",state="ready"} 0\n' in text
        worker.finish("test")
        assert get(url, "/readyz") == (503, "stopping: test\n")
        assert get(url, "/livez")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        get(url, "/livez")


def test_a_worker_whose_heartbeat_stands_still_is_not_well(app: Longboat, tasks: Any) -> None:  # noqa: ARG001  # as its protocol has it
    with app.worker(health_port=0) as worker:
        url = url_of(worker)
        worker.status.beaten = lambda: setattr(worker.status, "beat_at", worker.status.beat_at - 3600)
        until(lambda: get(url, "/livez")[0] == 503)
        assert "no heartbeat" in get(url, "/livez")[1]
        assert get(url, "/readyz")[0] == 503


def health(port: int, more: int = 0, host: str = "127.0.0.1") -> Health:
    def answer(path: str) -> tuple[int, str, str]:
        return (503, "text/plain", "not yet\n") if path == "/readyz" else (200, "text/plain", "ok\n")

    return Health(Status("w", 15.0), host, range(port, port + more + 1), answer)


@pytest.mark.usefixtures("brisk")
def test_a_port_that_is_taken_is_waited_for_or_the_next_one_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        waiting = health(port)
        waiting.start()
        until(lambda: f"the health port {port} is taken" in caplog.text)
        beside = health(port, more=20)
        beside.start()
        assert beside.up.wait(5)
        assert beside.url != f"http://127.0.0.1:{port}"
        assert get(beside.url, "/readyz") == (503, "not yet\n")
        beside.close()
    assert waiting.up.wait(5)
    assert get(waiting.url, "/livez")[0] == 200
    waiting.close()


def test_closing_at_the_moment_it_comes_up_ends_it() -> None:
    page = health(0)

    class Holding(logging.Handler):
        """Holds it up between opening the port and answering."""

        def emit(self, record: logging.LogRecord) -> None:
            if "health and metrics at" in record.getMessage():
                coming_up.set()
                until(lambda: page.stopping)

    coming_up = threading.Event()
    handler, logger = Holding(), logging.getLogger("longboat.worker")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        page.start()
        assert coming_up.wait(10)
        closing = threading.Thread(target=page.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_many_who_connect_and_say_nothing_keep_no_probe_out_and_take_no_room() -> None:
    page = health(0)
    page.start()
    assert page.up.wait(5)
    parts = urlsplit(page.url)
    before = threading.active_count()
    began = time.monotonic()
    silent = [socket.create_connection((parts.hostname, parts.port)) for _ in range(AT_ONCE + 30)]
    assert get(page.url, "/livez")[0] == 200
    assert time.monotonic() - began < 1.0, "one of them came too much for the queue of the socket"
    until(lambda: threading.active_count() <= before + AT_ONCE, 5.0)
    for each in silent:
        each.close()
    page.close()


def test_one_who_connects_and_says_nothing_holds_nobody_up() -> None:
    page = health(0)
    page.start()
    assert page.up.wait(5)
    parts = urlsplit(page.url)
    with socket.create_connection((parts.hostname, parts.port)):
        assert get(page.url, "/livez")[0] == 200
        closing = threading.Thread(target=page.close)
        closing.start()
        closing.join(5)
        assert not closing.is_alive()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_name_that_was_made_to_point_here_reads_nothing(host: str) -> None:
    served = health(0, host=host)
    served.start()
    assert served.up.wait(5)
    port = int(served.url.rpartition(":")[2])
    names = {"localhost": 200, f"127.0.0.1:{port}": 200, f"[::1]:{port}": 200, "evil.example": 403, "[::1": 403, "": 403}
    for name, status in names.items():
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/livez", headers={"Host": name})
        assert connection.getresponse().status == status, name
        connection.close()
    served.close()
