"""The dashboard inside other programs, and as a command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from dashboard_rig import HERE, TOKEN, asking, links, shop
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.dashboard import longboat_dashboard

pytest_plugins = ["dashboard_fixtures"]


def test_mounted_in_an_asgi_program(stocked: Longboat) -> None:
    dashboard = longboat_dashboard(stocked)
    program = Starlette(routes=[Mount("/ops/jobs", dashboard)])
    with TestClient(program, base_url=HERE, client=("127.0.0.1", 1), follow_redirects=False) as client:
        for path in ("/", "/queues/mail", "/jobs", "/tasks/shop.resize", "/failures", "/api"):
            text = client.get(f"/ops/jobs{path}").text
            wrong = [link for link in links(text) if not link.startswith("/ops/jobs/")]
            assert not wrong, (path, wrong)
            assert not re.findall(r'(?:src|action|hx-get|data-from)="(?!/ops/jobs/)', text), path
            for link in links(text):
                assert client.get(link).status_code == 200, link
        answer = client.post("/ops/jobs/do/pause", data={"kind": "queue", "name": "mail", "next": "/queues"})
        assert answer.headers["location"] == "/ops/jobs/queues"
        assert "Path=/ops/jobs" in answer.headers["set-cookie"]
    dashboard.close()


def test_mounted_in_a_wsgi_program(stocked: Longboat) -> None:
    a2wsgi = pytest.importorskip("a2wsgi")
    dashboard = longboat_dashboard(stocked, tokens={TOKEN: "admin"})
    wsgi = a2wsgi.ASGIMiddleware(dashboard)
    started: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/jobs",
        "PATH_INFO": "/queues",
        "QUERY_STRING": "",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.org",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
        "REMOTE_ADDR": "10.0.0.7",
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
    }
    body = b"".join(wsgi(environ, lambda status, *_: started.append(status))).decode()
    assert started[0].startswith("200")
    assert 'href="/jobs/queues/mail"' in body
    dashboard.close()


def test_the_url_alone_is_enough(tmp_path: Path) -> None:
    with shop(f"sqlite:///{tmp_path}/jobs.db") as app:
        app.named("shop.resize").enqueue(path="a.png", width=1)
    dashboard = longboat_dashboard(f"sqlite:///{tmp_path}/jobs.db")
    with asking(dashboard) as client:
        assert "shop.resize" in client.get("/jobs").text
        assert "not here" in client.get("/system").text
    dashboard.close()


def test_the_command_serves_until_told_to_stop(tmp_path: Path) -> None:
    with shop(f"sqlite:///{tmp_path}/longboat.db") as app:
        app.named("shop.resize").enqueue(path="a.png", width=1)
    started = _command(tmp_path, "--port", "0")
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        at = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert at is not None, line
        with urllib.request.urlopen(f"{at[0]}jobs") as answer:
            assert "shop.resize" in answer.read().decode()
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(20)
        assert started.stdout is not None
        started.stdout.close()
    assert started.returncode == 0


def test_the_command_does_not_serve_others_without_a_token(tmp_path: Path) -> None:
    (tmp_path / "longboat.db").touch()
    started = _command(tmp_path, "--host", "0.0.0.0", "--port", "0")
    out, _ = started.communicate(timeout=30)
    assert started.returncode == 2
    assert "LONGBOAT_DASHBOARD_TOKEN" in out
    guarded = _command(tmp_path, "--host", "0.0.0.0", "--port", "0", LONGBOAT_DASHBOARD_TOKEN=TOKEN)
    try:
        assert guarded.stdout is not None
        at = re.search(r":(\d+)/\?token=…", guarded.stdout.readline())
        assert at is not None
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{at[1]}/")
        refused.value.close()
        request = urllib.request.Request(f"http://127.0.0.1:{at[1]}/", headers={"authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    finally:
        guarded.terminate()
        guarded.communicate(timeout=20)


def _command(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "longboat", "dashboard", "sqlite:///longboat.db", *arguments],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
