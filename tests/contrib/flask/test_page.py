"""The dashboard as a blueprint of a Flask app."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask, Response, abort, redirect, session
from flask.testing import FlaskClient
from werkzeug.wrappers import Response as BaseResponse

from longboat.contrib.flask import Longboat
from longboat.operate import audit

longboat = Longboat(url="memory://")


@longboat.task(queue="mail/out//now")
def send(to: str) -> str:
    return to


def authorize() -> str | tuple[str, str] | BaseResponse | None:
    match session.get("name"):
        case None:
            return redirect("/login")
        case "eve":
            abort(418)
        case "bob":
            return None
        case "ann":
            return "operator", "ann"
    return "viewer"


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    app = Flask("shop")
    app.secret_key = "for the test"
    longboat.init_app(app)
    app.register_blueprint(longboat.dashboard(authorize, title="Shop"), url_prefix="/ops/jobs")

    @app.route("/login/<name>")
    def login(name: str) -> Response:
        session["name"] = name
        return Response("in")

    send.enqueue("a@b.c")
    with app.test_client() as made:
        yield made
    longboat.close()


def test_the_guard_runs_in_the_request_and_may_answer_itself(client: FlaskClient) -> None:
    assert client.get("/ops/jobs/").headers["Location"] == "/login"
    for name, status in {"eve": 418, "bob": 403, "ann": 200, "guest": 200}.items():
        client.get(f"/login/{name}")
        assert client.get("/ops/jobs/").status_code == status, name


def test_changes_are_made_by_whom_the_guard_names(client: FlaskClient) -> None:
    pause = {"kind": "queue", "name": "mail/out//now", "next": "/queues"}
    client.get("/login/guest")
    assert client.post("/ops/jobs/do/pause", data=pause).status_code == 403
    client.get("/login/ann")
    answer = client.post("/ops/jobs/do/pause", data=pause)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ops/jobs/queues")
    assert audit.newest(longboat.broker.kv)[0].who == "ann"
    foreign = client.post("/ops/jobs/do/pause", data=pause, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


@pytest.mark.parametrize("root", ["", "/behind/a/proxy"])
def test_links_stay_below_the_prefix(root: str, client: FlaskClient) -> None:
    client.get("/login/ann")
    base = {"base_url": f"http://localhost{root}/"}
    assert client.get("/ops/jobs", **base).status_code == 308
    for path in ("/", "/jobs", "/queues/mail%2Fout%2F%2Fnow", "/tasks/" + send.name):
        answer = client.get(f"/ops/jobs{path}", **base)
        assert answer.status_code == 200, path
        found = re.findall(r'(?:src|action|href|data-stream)="(/[^"]*)', answer.text)
        assert [link for link in found if not link.startswith(f"{root}/ops/jobs/")] == []
        assert "Shop" in answer.text
    assert client.get("/ops/jobs/static/style.css", **base).mimetype == "text/css"
    assert client.get("/ops/jobs/nowhere", **base).status_code == 404
