"""Attempts to come in through the dashboard's door: without a token, by guessing one, with a session that is over."""

from __future__ import annotations

import re
import socket
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.core import seldom
from longboat.core.clock import SYSTEM
from longboat.dashboard import guesses, longboat_dashboard, sessions
from longboat.dashboard.serving import PATIENCE
from tests.rigs.dashboard import TOKEN, asking
from tests.rigs.dashboard_command import serving
from tests.rigs.fault import until

PAUSE = {"kind": "queue", "name": "mail"}
ELSEWHERE = ("https://jobs.example", "10.0.0.7")


def cookie(client: TestClient) -> str:
    (kept,) = (name for name in client.cookies if name.startswith("longboat-session-"))
    return str(client.cookies[kept])


def test_another_user_of_this_machine_opens_it_without_the_token(bare: Longboat, caplog: pytest.LogCaptureFixture) -> None:
    dashboard = longboat_dashboard(bare)
    with asking(dashboard) as client:
        assert client.get("/").status_code == 401
        assert client.post("/api/v1/do/enqueue", json={"task": "t"}).status_code == 401
        (said,) = (line for line in caplog.messages if "?token=" in line)
        (token,) = re.findall(r"\?token=([\w-]+)", said)
        assert client.get(f"/?token={token}").status_code == 303
        assert "admin" in client.get("/").text
    dashboard.close()
    again = longboat_dashboard(bare)
    assert again.token != token
    with asking(again) as client:
        assert client.get(f"/?token={token}").status_code == 401, "a token is good until its process ends"
    again.close()


def test_a_token_is_guessed(bare: Longboat, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SYSTEM.monotonic()
    clock = type("Clock", (), {"monotonic": lambda _: now})()
    for module in (guesses, seldom):
        monkeypatch.setattr(module, "SYSTEM", clock)
    dashboard = longboat_dashboard(bare, tokens={TOKEN: "admin"})
    with asking(dashboard, *ELSEWHERE) as client, asking(dashboard, ELSEWHERE[0], "10.0.0.8") as other:
        assert client.get(f"/?token={TOKEN}").status_code == 303
        for n in range(guesses.FREE):
            link, header = [(f"?token=wrong-{n}", ""), ("", f"Bearer wrong-{n}")][n % 2]
            assert client.get(f"/{link}", headers={"authorization": header}).status_code == 401
        stopped = client.post("/sign-in", data={"token": TOKEN})
        assert stopped.status_code == 429
        assert int(stopped.headers["retry-after"]) == guesses.PAUSE
        assert client.get("/").status_code == 200, "who is signed in stays so"
        assert other.get(f"/?token={TOKEN}").status_code == 303, "others may sign in"
        now += guesses.PAUSE
        assert client.post("/sign-in", data={"token": "wrong"}).status_code == 401
        assert client.post("/sign-in", data={"token": TOKEN}).status_code == 429
        now += 2 * guesses.PAUSE
        assert client.post("/sign-in", data={"token": "wrong"}).status_code == 401
    dashboard.close()
    told = [line for line in caplog.messages if "wrong token" in line]
    assert told == [f"wrong tokens: {count}, the last one from 10.0.0.7" for count in (1, guesses.FREE + 1)]


def test_a_cookie_is_used_after_its_session(bare: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SYSTEM.now()
    monkeypatch.setattr(sessions, "SYSTEM", type("Clock", (), {"now": lambda _: now})())
    first = longboat_dashboard(bare, tokens={TOKEN: "admin"})
    second = longboat_dashboard(bare, tokens={TOKEN: "admin"})
    with asking(first, *ELSEWHERE) as client, asking(second, *ELSEWHERE) as beside:
        seen = set()
        for _ in range(2):
            client.get(f"/?token={TOKEN}")
            seen.add(cookie(client))
        assert len(seen) == 2, "each sign-in makes a random session of its own"
        assert TOKEN not in "".join(seen)
        beside.cookies = client.cookies
        assert beside.get("/").status_code == 200, "another process of the same broker knows it"
        stolen = dict(client.cookies)
        assert "Sign out" in client.get("/").text
        assert client.post("/sign-out").status_code == 303
        now += 2 * sessions.REUSED
        for dashboard in (client, beside):
            dashboard.cookies.clear()
            dashboard.cookies.update(stolen)
            assert dashboard.get("/").status_code == 401, "signed out everywhere"
            dashboard.cookies.clear()
        client.get(f"/?token={TOKEN}")
        now += sessions.LIFETIME - 1
        assert client.get("/").status_code == 200
        now += 2
        assert client.get("/").status_code == 401, "over after its lifetime"
        client.get(f"/?token={TOKEN}")
        kept = dict(client.cookies)
    first.close()
    second.close()
    changed = longboat_dashboard(bare, tokens={TOKEN + "x": "admin"})
    with asking(changed, *ELSEWHERE) as client:
        client.cookies.update(kept)
        assert client.get("/").status_code == 401, "its token is no longer accepted"
    changed.close()


def test_a_dashboard_at_another_port_takes_over_a_session(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens={TOKEN: "admin"})
    names = set()
    for base, root in (("http://127.0.0.1:5555", ""), ("http://127.0.0.1:5556", ""), ("http://127.0.0.1:5555", "/ops")):
        with TestClient(dashboard, base_url=base, root_path=root, follow_redirects=False) as client:
            names |= set(client.get(f"{root}/?token={TOKEN}").cookies)
    dashboard.close()
    assert len(names) == 3, "browsers send the cookies of all ports to each"


@pytest.mark.slow
def test_half_sent_requests_use_up_all_connections(tmp_path: Path) -> None:
    with serving(tmp_path, url="sqlite:///longboat.db") as at, ExitStack() as open_ones:
        port = int(at.rstrip("/").rpartition(":")[2])
        half = [b"GET / HTTP/1.1\r\nHost: 127.", b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken="]
        held = []
        for n in range(1100):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            one.sendall(half[n % 2])
            held.append(one)
        for _ in range(3):
            with urllib.request.urlopen(f"{at}jobs", timeout=10) as answer:
                assert answer.status == 200

        def closed() -> bool:
            held[-1].settimeout(0.1)
            try:
                return not held[-1].recv(1000)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(closed, PATIENCE + 10)
