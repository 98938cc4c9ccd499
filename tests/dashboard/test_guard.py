"""Who is let in, who may do what, whose pages may ask, and the headers that every answer has."""

from __future__ import annotations

import pytest
from dashboard_rig import HERE, TOKEN, asking
from starlette.requests import Request

from longboat import Longboat
from longboat.dashboard import longboat_dashboard
from longboat.errors import ConfigError

pytest_plugins = ["dashboard_fixtures"]

VIEWER, OPERATOR = "viewer-" + TOKEN, "operator-" + TOKEN
TOKENS = {TOKEN: "admin", OPERATOR: "operator", VIEWER: "viewer"}
PAUSE = {"kind": "queue", "name": "mail"}


@pytest.mark.parametrize(
    ("base", "peer", "headers", "status"),
    [
        (HERE, "127.0.0.1", {}, 200),
        ("http://localhost:5555", "::1", {}, 200),
        ("http://[::1]:5555", "::1", {}, 200),
        ("http://evil.example:5555", "127.0.0.1", {}, 403),  # a name that was made to point here
        ("http://127.0.0.1.evil.example", "127.0.0.1", {}, 403),
        (HERE, "10.0.0.7", {}, 403),
        (HERE, "127.0.0.1", {"x-forwarded-for": "10.0.0.7"}, 403),  # a proxy stands between
        (HERE, "127.0.0.1", {"forwarded": "for=10.0.0.7"}, 403),
    ],
)
def test_without_tokens_only_this_machine_is_let_in(
    bare: Longboat, base: str, peer: str, headers: dict[str, str], status: int
) -> None:
    dashboard = longboat_dashboard(bare)
    with asking(dashboard, base, peer) as client:
        for path in ("/", "/jobs", "/api/v1/jobs", "/data/series", "/jobs.csv"):
            assert client.get(path, headers=headers).status_code == status, path
        assert client.post("/do/pause", data=PAUSE, headers=headers).status_code == (303 if status == 200 else 403)
    dashboard.close()


def test_a_token_lets_in_from_anywhere(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    with asking(dashboard, "https://jobs.example", "10.0.0.7") as client:
        assert client.get("/").status_code == 401
        assert client.get("/api/v1/jobs").json()["error"]
        assert client.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/", headers={"authorization": "Basic !!"}).status_code == 401
        assert client.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert "ann · operator" in client.get("/", auth=("ann", OPERATOR)).text
        assert client.get("/?token=wrong").status_code == 401
        link = client.get(f"/jobs?q=state%3Adead&token={TOKEN}")
        assert link.status_code == 303
        assert TOKEN not in link.headers["location"]
        assert "q=state" in link.headers["location"]
        cookie = link.headers["set-cookie"]
        assert TOKEN not in cookie
        for word in ("HttpOnly", "SameSite=strict", "Secure"):
            assert word in cookie
        assert client.get("/").status_code == 200  # by the cookie
    dashboard.close()


def test_roles(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    cases = [("/do/pause", PAUSE, OPERATOR), ("/do/purge", {"queue": "mail", "state": "dead"}, TOKEN)]
    with asking(dashboard) as client:
        for path, form, least in cases:
            for token in (VIEWER, OPERATOR, TOKEN):
                enough = list(TOKENS).index(token) <= list(TOKENS).index(least)
                headers = {"authorization": f"Bearer {token}"}
                assert client.post(path, data=form, headers=headers).status_code == (303 if enough else 403), (path, token)
                asked = client.post(f"/api/v1{path}", json=form, headers=headers)
                assert asked.status_code == (200 if enough else 403), (path, token)
        text = client.get("/queues/mail", headers={"authorization": f"Bearer {VIEWER}"}).text
        assert 'method="post"' not in text
        assert client.post("/do/bulk", data={"verb": "discard"}, auth=("o", OPERATOR)).status_code == 403
    dashboard.close()


def test_what_another_site_asks_for_is_not_done(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare)
    refused = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": HERE},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
    ]
    allowed = [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": HERE}, {}]
    with asking(dashboard) as client:
        for headers in refused:
            assert client.post("/do/pause", data=PAUSE, headers=headers).status_code == 403, headers
            assert client.post("/api/v1/do/pause", json=PAUSE, headers=headers).status_code == 403, headers
        assert "paused" not in client.get("/queues").text
        for headers in allowed:
            assert client.post("/do/pause", data=PAUSE, headers=headers).status_code == 303, headers
    dashboard.close()


def test_nothing_is_done_by_a_link(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare)
    with asking(dashboard) as client:
        assert client.get("/do/pause", params=PAUSE).status_code == 200  # a question
        assert "paused" not in client.get("/queues").text
        assert client.get("/api/v1/do/pause", params=PAUSE).status_code == 405
    dashboard.close()


@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/style.css", "/api/v1/jobs", "/jobs/unknown", "/static/nowhere"])
def test_every_answer_has_the_headers(bare: Longboat, path: str) -> None:
    dashboard = longboat_dashboard(bare)
    with asking(dashboard) as client:
        headers = client.get(path).headers
    dashboard.close()
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
    assert headers["content-security-policy"].startswith(policy)
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_program_can_say_who_somebody_is(bare: Longboat) -> None:
    def authorize(request: Request) -> str | None:
        return request.headers.get("x-role")

    dashboard = longboat_dashboard(bare, authorize=authorize)
    with asking(dashboard, "http://anywhere.example", "10.0.0.7") as client:
        assert client.get("/").status_code == 403
        assert client.get("/", headers={"x-role": "viewer"}).status_code == 200
        assert client.post("/do/pause", data=PAUSE, headers={"x-role": "viewer"}).status_code == 403
        assert client.post("/do/pause", data=PAUSE, headers={"x-role": "operator"}).status_code == 303
    dashboard.close()


def test_one_does_not_leave_for_another_site(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare)
    with asking(dashboard) as client:
        for path in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
            answer = client.post("/do/pause", data={**PAUSE, "next": path})
            assert answer.headers["location"] == "/", path
            assert "evil" not in client.get("/do/pause", params={**PAUSE, "next": path}).text.partition(">Yes<")[2]
        assert client.post("/do/pause", data={**PAUSE, "next": "/queues"}).headers["location"] == "/queues"
    dashboard.close()


def test_what_makes_no_sense_is_refused(bare: Longboat) -> None:
    with pytest.raises(ConfigError, match="16 characters"):
        longboat_dashboard(bare, tokens={"short": "admin"})
    with pytest.raises(ConfigError, match="no role"):
        longboat_dashboard(bare, tokens={TOKEN: "king"})
    dashboard = longboat_dashboard(bare)
    with asking(dashboard) as client:
        assert client.post("/do/pause", content=b"x" * 2_000_001).status_code == 413
        assert client.post("/do/nothing").status_code == 404
        assert client.post("/do/pause").status_code == 400
        assert client.post("/api/v1/do/pause", content=b"[", headers={"content-type": "application/json"}).status_code == 400
    dashboard.close()
