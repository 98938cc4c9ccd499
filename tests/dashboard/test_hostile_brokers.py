"""Names that no store was made for, and stores that are not there: an answer that says so, never a fault of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from longboat import Longboat
from longboat.brokers.manager import Server
from longboat.brokers.memory import MemoryBroker
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.screens import SCREENS
from longboat.dashboard.verbs import VERBS
from tests.rigs.broker import URLS
from tests.rigs.dashboard import asking, shop
from tests.rigs.harnesses import unavailable

WIDE = "%F0%9F%9A%A2" * 80
"""A name of few characters and many bytes: AMQP has no room for it."""
ODD = [
    "%00",
    "a%00b",
    "x" * 3000,
    "%ff%fe",
    "%ed%a0%80",
    "%F0%9F%9A%A2" * 80,
    "..%2f..",
    "%0d%0aa:b",
    "*",
    "'%22;--",
    "%25s%25n",
]
CURSORS = [
    "x",
    "{}",
    "[]",
    '["q"]',
    '["q",1,2]',
    '["q","nan","zz"]',
    '["q","1","00"]',
    "[null,[],{}]",
    '[1e999,"","x"]',
    "\x00",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sqlite", *URLS])
def test_odd_names_on_every_broker(name: str, tmp_path: Path) -> None:
    if name == "sqlite":
        with shop(f"sqlite:///{tmp_path}/jobs.db") as app:
            odd_names(app, ODD)
        return
    if why := unavailable(name):
        pytest.skip(why)
    made: Any = URLS[name]
    with made(tmp_path) as url, shop(url) as app:
        odd_names(app, [odd for odd in ODD if odd != WIDE or not name.startswith("rabbitmq")])


def odd_names(app: Longboat, odds: list[str]) -> None:
    app.named("shop.resize").enqueue(path="a.png", width=1)
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as client:
        fine = {200, 303, 400, 404, 501}
        for odd in odds:
            for method, path, _ in SCREENS:
                if method == "GET" and "{" in path and "{verb}" not in path:
                    at = path.partition("{")[0] + odd
                    assert client.get(at).status_code in fine, at
            for word in ("q=queue:", "q=task:", "q=id:", "q=flow:", "q=", "q=args.x:", "queue=", "task="):
                for path in ("/jobs", "/api/v1/jobs", "/jobs.csv", "/", "/api/v1/bulk", "/api/v1/scaling"):
                    at = f"{path}?{word}{odd}"
                    assert client.get(at).status_code in fine, at
            for verb in VERBS:
                fields = "&".join(f"{field}={odd}" for field in ("id", "name", "queue", "task", "q", "to"))
                body = f"{fields}&state=dead&verb=retry&kind=queue&args=%7B%7D"
                answer = client.post(
                    f"/do/{verb}", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
                )
                assert answer.status_code in fine, (verb, odd, answer.text)
        for cursor in CURSORS:
            for state in ("ready", "dead", "running", "scheduled", "succeeded"):
                answer = client.get("/api/v1/jobs", params={"after": f"{state}:{cursor}"})
                assert answer.status_code in (200, 400, 501), (state, cursor, answer.text)
    dashboard.close()


def test_a_broker_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(key := os.urandom(32).hex().encode())
    (tmp_path / "key").chmod(0o600)
    server = Server(MemoryBroker(), ("127.0.0.1", 0), key)
    with server:
        app = shop(f"manager://127.0.0.1:{server.address[1]}?authkey_file={tmp_path}/key")
        dashboard = longboat_dashboard(app, local_role="admin")
        with asking(dashboard) as client:
            assert client.get("/jobs").status_code == 200
            app.broker.inspector.counts()
            server.close()
            for path in ("/jobs", "/jobs/one", "/api/v1/queues"):
                answer = client.get(path)
                assert answer.status_code == 503, (path, answer.text)
                assert "Traceback" not in answer.text
                assert answer.headers["cache-control"] == "no-store"
            assert client.post("/do/retry", data={"id": "one"}).status_code == 503
            assert client.get("/static/style.css").status_code == 200
        dashboard.close()
        app.close()


def test_a_broker_that_was_never_there() -> None:
    dashboard = longboat_dashboard("redis://:hunter2@127.0.0.1:1/0", local_role="admin")
    with asking(dashboard) as client:
        for path in ("/", "/jobs", "/api/v1/jobs", "/system", "/metrics"):
            answer = client.get(path)
            assert answer.status_code in (200, 503), path
            assert "hunter2" not in answer.text, path
            assert "Traceback" not in answer.text
        assert client.get("/jobs").status_code == 503
    dashboard.close()
