"""The dashboard inside other programs, and as a command."""

from __future__ import annotations

import io
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import a2wsgi
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.core.job import State
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.mounted import Dashboard
from longboat.operate import audit
from tests.rigs.dashboard import HERE, TOKEN, asking, links, shop
from tests.rigs.dashboard_command import serving, start


def test_mounted_in_an_asgi_program(stocked: Longboat) -> None:
    dashboard = longboat_dashboard(stocked, local_role="admin")
    program = Starlette(routes=[Mount("/ops/jobs", dashboard)])
    with TestClient(program, base_url=HERE, client=("127.0.0.1", 1), follow_redirects=False) as client:
        for path in ("/", "/queues/mail", "/jobs", "/tasks/shop.resize", "/failures", "/api"):
            text = client.get(f"/ops/jobs{path}").text
            wrong = [link for link in links(text) if not link.startswith("/ops/jobs/")]
            assert not wrong, (path, wrong)
            assert not re.findall(r'(?:src|action|data-stream)="(?!/ops/jobs/)', text), path
            for link in links(text):
                assert client.get(link).status_code == 200, link
        answer = client.post("/ops/jobs/do/pause", data={"kind": "queue", "name": "mail", "next": "/queues"})
        assert answer.headers["location"] == "/ops/jobs/queues"
        assert "Path=/ops/jobs" in answer.headers["set-cookie"]
    dashboard.close()


def bridged(dashboard: Dashboard, bridge: str) -> Any:
    asgi: Any = dashboard
    return a2wsgi.ASGIMiddleware(asgi) if bridge == "a2wsgi" else dashboard.wsgi


BRIDGES = pytest.mark.parametrize("bridge", ["a2wsgi", "own"])


@BRIDGES
def test_mounted_in_a_wsgi_program(bridge: str, stocked: Longboat) -> None:
    dashboard = longboat_dashboard(stocked, tokens={TOKEN: "admin"})
    wsgi = bridged(dashboard, bridge)
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
    dashboard = longboat_dashboard(f"sqlite:///{tmp_path}/jobs.db", local_role="admin")
    with asking(dashboard) as client:
        assert "shop.resize" in client.get("/jobs").text
        assert "not loaded" in client.get("/system").text
    dashboard.close()


@pytest.mark.slow
def test_the_command_serves_until_told_to_stop(tmp_path: Path) -> None:
    with shop(f"sqlite:///{tmp_path}/longboat.db") as app:
        app.named("shop.resize").enqueue(path="a.png", width=1)
    started = start(tmp_path, "--port", "0")
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        at = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert at is not None, line
        token = re.search(r"\?token=(\S+)", line)
        assert token is not None, line
        for given, status in (("", 401), ("?token=wrong", 401), (token[0], 200)):
            assert _status(f"{at[0]}jobs{given}") == status, given
        request = urllib.request.Request(f"{at[0]}jobs", headers={"authorization": f"Bearer {token[1]}"})
        with urllib.request.urlopen(request) as answer:
            assert "shop.resize" in answer.read().decode()
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(20)
        assert started.stdout is not None
        started.stdout.close()
    assert started.returncode == 0


@pytest.mark.slow
def test_the_command_does_not_serve_others_without_a_token(tmp_path: Path) -> None:
    (tmp_path / "longboat.db").touch()
    started = start(tmp_path, "--host", "0.0.0.0", "--port", "0", "--role", "viewer")
    out, _ = started.communicate(timeout=30)
    assert started.returncode == 2
    assert "Leave --role out" in out
    colliding = start(tmp_path, "--root", "/jobs")
    assert "the dashboard has a page at /jobs" in colliding.communicate(timeout=30)[0]
    assert colliding.returncode == 2
    guarded = start(tmp_path, "--host", "0.0.0.0", "--port", "0", LONGBOAT_DASHBOARD_TOKEN=TOKEN)
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


CODE = """
from longboat import Longboat
app = Longboat("sqlite:///elsewhere.db")

@app.task
def add(a: int, b: int = 2) -> int:
    return a + b
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", ["argument", "variable"])
def test_the_command_takes_the_broker_by_its_url_and_the_forms_from_the_app(tmp_path: Path, by: str) -> None:
    (tmp_path / "tasks.py").write_text(CODE)
    url = f"sqlite:///{tmp_path}/longboat.db"
    with serving(tmp_path, **({"url": url} if by == "argument" else {"LONGBOAT_URL": url})) as at:
        assert 'name="arg.b"' in _read(f"{at}tasks/tasks.add")
        asked = urllib.request.Request(f"{at}do/enqueue", b"task=tasks.add&arg.a=40", method="POST")
        with urllib.request.urlopen(asked) as answer:
            assert "40" in answer.read().decode()
    assert not (tmp_path / "elsewhere.db").exists()
    with Longboat(url) as app:
        assert [job.task for job in app.broker.inspector.jobs(State.READY).jobs] == ["tasks.add"]


@pytest.mark.slow
def test_the_command_serves_also_where_the_app_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("import longboat, nowhere_at_all\n")
    with serving(tmp_path, LONGBOAT_URL=f"sqlite:///{tmp_path}/longboat.db") as at:
        text = _read(f"{at}tasks")
        assert "Tasks are shown by name only" in text
        assert "No module named &#39;nowhere_at_all&#39;" in text
        assert "nowhere_at_all" in _read(f"{at}system")
    refused = start(tmp_path, url="", LONGBOAT_URL="")
    out, _ = refused.communicate(timeout=30)
    assert refused.returncode == 3
    assert "nowhere_at_all" in out


def _status(at: str) -> int:
    """Of a browser that keeps cookies."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    try:
        with browser.open(at) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _read(at: str) -> str:
    with urllib.request.urlopen(at) as answer:
        text: str = answer.read().decode()
        return text


@BRIDGES
def test_a_wsgi_program_says_who_somebody_is(bridge: str, stocked: Longboat) -> None:
    def authorize(request: Request) -> tuple[str, str] | None:
        name = request.scope["wsgi_environ"].get("REMOTE_USER")
        return ("operator", name) if name == "ann" else None

    def ask(method: str, path: str, form: str = "", **more: str) -> tuple[str, dict[str, str]]:
        started: list[Any] = []
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "/jobs",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "HTTP_HOST": "x",
            "SERVER_NAME": "x",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "10.0.0.7",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(form.encode()),
            "CONTENT_LENGTH": str(len(form)),
            **more,
        }
        b"".join(wsgi(environ, lambda status, headers, *_: started.append((status[:3], dict(headers)))))
        status, headers = started[0]
        assert "content-security-policy" in headers
        return status, headers

    dashboard = longboat_dashboard(stocked, authorize=authorize)
    wsgi = bridged(dashboard, bridge)
    assert ask("GET", "/queues")[0] == "403"
    assert ask("GET", "/queues", REMOTE_USER="ann")[0] == "200"
    assert ask("GET", "/jobs", REMOTE_USER="ann")[0] == "200", "a screen that is named as what it is mounted at"
    assert ask("GET", "/static/../web.py", REMOTE_USER="ann")[0] == "404"
    status, headers = ask("POST", "/do/pause", "kind=queue&name=mail&next=/queues", REMOTE_USER="ann")
    assert (status, headers["location"]) == ("303", "/jobs/queues")
    assert audit.newest(stocked.broker.kv)[0].who == "ann"
    assert ask("POST", "/do/purge", "queue=mail&state=dead", REMOTE_USER="ann")[0] == "403"
    assert ask("POST", "/do/pause", "kind=queue&name=mail", REMOTE_USER="ann", HTTP_ORIGIN="http://evil")[0] == "403"
    dashboard.close()
    dashboard = longboat_dashboard(stocked, local_role="admin")
    wsgi = bridged(dashboard, bridge)
    assert ask("GET", "/queues", REMOTE_ADDR="127.0.0.1", HTTP_HOST="evil.example")[0] == "403"
    dashboard.close()


def test_the_command_says_when_scripts_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    from longboat import dashboard
    from longboat.cli.dashboard import _check_scripts

    _check_scripts()
    there = (Path(dashboard.__file__).parent / "static/vendor/uPlot.iife.min.js").exists()
    assert ("hatch_build.py" in capsys.readouterr().err) is not there
