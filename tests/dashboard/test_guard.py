"""Who is let in, who may do what, whose pages may ask, and the headers that every answer has."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.requests import Request

from longboat import Longboat
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.ask import Role
from longboat.dashboard.screens import SCREENS
from longboat.dashboard.verbs import VERBS
from longboat.errors import ConfigError
from longboat.operate import audit
from tests.rigs.dashboard import HERE, TOKEN, asking

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
        (HERE, "127.0.0.1", {"x-forwarded-host": "jobs.example"}, 403),
        (HERE, "127.0.0.1", {"x-real-ip": "127.0.0.1"}, 403),
        (HERE, "127.0.0.1", {"via": "1.1 proxy"}, 403),
        (HERE, "127.0.0.1", {"host": ""}, 403),
        (HERE, "127.0.0.1", {"host": "127.0.0.1@evil.example"}, 403),
        (HERE, "127.0.0.1", {"host": "[::1"}, 403),
    ],
)
def test_without_tokens_only_this_machine_is_let_in(
    bare: Longboat, base: str, peer: str, headers: dict[str, str], status: int
) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard, base, peer) as client:
        for path in ("/", "/jobs", "/api/v1/jobs", "/queues", "/jobs.csv"):
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
        assert "“ann” · operator" in client.get("/", auth=("ann", OPERATOR)).text
        assert client.get("/?token=wrong").status_code == 401
        link = client.get(f"/jobs?q=state%3Adead&token={TOKEN}")
        assert link.status_code == 303
        assert TOKEN not in link.headers["location"]
        assert "q=state" in link.headers["location"]
        cookie = link.headers["set-cookie"]
        assert "Max-Age=604800" in cookie
        assert TOKEN not in cookie
        for word in ("HttpOnly", "SameSite=lax", "Secure"):
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
    dashboard = longboat_dashboard(bare, local_role="admin")
    refused = [
        {"origin": "http://[::1"},
        {"origin": ""},
        {"origin": "127.0.0.1:5555"},
        {"sec-fetch-site": ""},
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
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert client.get("/do/pause", params=PAUSE).status_code == 200  # a question
        assert "paused" not in client.get("/queues").text
        assert client.get("/api/v1/do/pause", params=PAUSE).status_code == 405
    dashboard.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nowhere", "/static/style.css", "/api/v1/jobs", "/jobs/unknown", "/static/nowhere", "/static/%00", "/jobs/"),
        *("/static/..%2fweb.py", "/static//etc/passwd", "/static/../web.py", "/static/", "/queues/a/static/b", "/jobs.csv"),
    ],
)
def test_every_answer_has_the_headers(bare: Longboat, path: str) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        answer = client.get(path)
        headers = answer.headers
        assert "import annotations" not in answer.text, "no code is served"
        assert client.head(path).headers == headers
        assert client.request("DELETE", path).headers["cache-control"] == "no-store"
    dashboard.close()
    public = path == "/static/style.css"
    assert headers["cache-control"] == ("public, max-age=31536000, immutable" if public else "no-store")
    assert headers["cross-origin-resource-policy"] == "same-origin"
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
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for path in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
            answer = client.post("/do/pause", data={**PAUSE, "next": path})
            assert answer.headers["location"] == "/", path
            assert "evil" not in client.get("/do/pause", params={**PAUSE, "next": path}).text.partition(">Yes<")[2]
        assert client.post("/do/pause", data={**PAUSE, "next": "/queues"}).headers["location"] == "/queues"
    dashboard.close()


def test_what_makes_no_sense_is_refused(bare: Longboat) -> None:
    for weak in ("short", "passwordpassword", "1234567890123456", "abababab12121212", "a" * 40 + "1"):
        with pytest.raises(ConfigError, match="could be guessed"):
            longboat_dashboard(bare, tokens={weak: "admin"})
    with pytest.raises(ConfigError, match="is not a role"):
        longboat_dashboard(bare, tokens={TOKEN: "king"})
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert client.post("/do/pause", content=b"x" * 2_000_001).status_code == 413
        assert client.post("/do/nothing").status_code == 404
        assert client.post("/do/pause").status_code == 400
        assert client.post("/api/v1/do/pause", content=b"[", headers={"content-type": "application/json"}).status_code == 400
    dashboard.close()


def test_every_route_asks_who_and_what(bare: Longboat) -> None:
    """Whatever routes and verbs there are: a new one is under the same rules, or this test fails."""
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    changes = [path.replace("{verb}", verb) for method, path, _ in SCREENS if method == "POST" for verb in VERBS]
    assert {method for method, _, _ in SCREENS} == {"GET", "POST"}
    assert all("{verb}" in path for method, path, _ in SCREENS if method == "POST"), "a change is a verb: it has a role"
    with asking(dashboard, "https://jobs.example", "10.0.0.7") as client:
        for method, path, _ in SCREENS:
            if method == "GET":
                at = path.replace("{verb}", "retry").replace(":path", "").replace("{", "").replace("}", "")
                assert client.get(at).status_code == 401, at
                within = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "authorization": f"Bearer {TOKEN}"}
                assert client.get(at, headers=within).status_code == 403, at
                assert client.get(at, headers={**within, "sec-fetch-mode": "navigate"}).status_code != 403, at
        for path in changes:
            verb = VERBS[path.rpartition("/")[2]]
            assert client.post(path).status_code == 401, path
            assert client.post(f"{path}?_method=GET", headers={"x-http-method-override": "GET"}).status_code == 401, path
            for role, token in ((Role.VIEWER, VIEWER), (Role.OPERATOR, OPERATOR), (Role.ADMIN, TOKEN)):
                headers = {"authorization": f"Bearer {token}"}
                assert (client.post(path, headers=headers).status_code == 403) is (role < verb.role), (path, role)
                for wrong in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
                    assert client.post(path, headers={**headers, **wrong}).status_code == 403, (path, role, wrong)
                wrong_method = client.put(path, headers=headers)
                assert wrong_method.status_code == 405
                assert wrong_method.headers["allow"]
            assert verb.role > Role.VIEWER, path
    dashboard.close()


def test_signing_in_with_the_form(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    with asking(dashboard, "https://jobs.example", "10.0.0.7") as client:
        page = client.get("/jobs?q=state%3Adead&token=wrong-" + TOKEN)
        assert page.status_code == 401
        assert TOKEN not in page.text
        assert 'method="post" action="/sign-in"' in page.text, "a token stands in no address that is typed"
        assert 'name="next" value="/jobs?q=state%3Adead"' in page.text
        assert client.post("/sign-in", data={"token": "wrong"}).status_code == 401
        assert client.post("/sign-in").status_code == 401
        assert client.get("/sign-in").status_code == 405
        asked = client.post("/sign-in", data={"token": TOKEN}, headers={"sec-fetch-site": "cross-site"})
        assert asked.status_code == 403, "nobody is signed in by another site's page"
        for path in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb"):
            assert client.post("/sign-in", data={"token": VIEWER, "next": path}).headers["location"] == "/"
        answer = client.post("/sign-in", data={"token": TOKEN, "next": "/jobs?q=state%3Adead"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?q=state%3Adead")
        assert client.get("/jobs").status_code == 200
        said = client.post("/do/pause", data=PAUSE).headers["set-cookie"]
        for word in ("HttpOnly", "SameSite=lax", "Secure"):
            assert word in said
    dashboard.close()


def test_no_answer_goes_where_the_host_header_says(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    with asking(dashboard, "http://jobs.example", "10.0.0.7") as client:
        for path in ("/bulk/", "/static", "/", "/jobs", "//evil.example/", "/jobs//evil.example"):
            for query in ("", f"?token={TOKEN}"):
                answer = client.get(f"http://jobs.example{path}{query}", headers={"host": "evil.example"})
                location = answer.headers.get("location", "/")
                assert location.startswith("/"), (path, location)
                assert not location.startswith("//"), (path, location)
                assert "evil.example" not in answer.headers.get("set-cookie", "")
    dashboard.close()


def test_a_token_stands_in_no_log(bare: Longboat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "longboat")
    dashboard = longboat_dashboard(bare, tokens=TOKENS)
    with asking(dashboard) as client:
        client.get(f"/?token={TOKEN}")
        client.post(f"/do/pause?token={TOKEN}", data=PAUSE, headers={"authorization": f"Bearer {TOKEN}"})
        name = "ann\x1b[2J\r\nroot (admin) purge all”"
        client.post("/do/pause", data={"kind": "queue", "name": "other"}, auth=(name, TOKEN))
        assert client.post("/do/pause", data={"kind": "queue", "name": "a\r\nb"}, auth=(name, TOKEN)).status_code == 400
        text = client.get("/audit", headers={"authorization": f"Bearer {TOKEN}"}).text
    dashboard.close()
    entries = audit.newest(bare.broker.kv)
    assert len(entries) == 1
    assert entries[0].who.startswith("“ann")
    assert entries[0].who.endswith("”")
    assert entries[0].who.count("”") == 1
    assert entries[0].who.isprintable()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("longboat")]
    assert any("pause" in line for line in told)
    for line in (*told, *(str(entry) for entry in entries), text):
        assert TOKEN not in line
    assert all(line.isprintable() for line in told)


def test_a_hook_that_fails_lets_nobody_in(bare: Longboat) -> None:
    def broken(request: Request) -> str:
        raise RuntimeError(f"no database for {request.url}")

    async def later(request: Request) -> str:  # noqa: ARG001  # as its protocol has it
        return "admin"

    hooks: list[Any] = [broken, lambda _: "king", lambda _: 9, lambda _: True, lambda _: "", lambda _: object()]
    hooks += [lambda _: ("king", "ann"), lambda _: ("admin",), lambda _: (None, "ann")]
    for hook in hooks:
        dashboard = longboat_dashboard(bare, authorize=hook)
        with asking(dashboard) as client:
            for path in ("/", "/api/v1/jobs", "/?token=something"):
                answer = client.get(path)
                assert answer.status_code == 500
                assert "database" not in answer.text
                assert "content-security-policy" in answer.headers
            assert client.post("/do/pause", data=PAUSE).status_code == 500
        dashboard.close()
    wrong: Any = later
    with pytest.raises(ConfigError, match="coroutine"):
        longboat_dashboard(bare, authorize=wrong)
    with pytest.raises(ConfigError, match="only one of the two"):
        longboat_dashboard(bare, authorize=lambda _: "admin", tokens=TOKENS)


def test_a_question_shows_all_that_a_link_has_filled_in(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        text = client.get("/do/bulk", params={"verb": "discard", "q": "queue:mail", "next": "/"}).text
        shown = text.partition("<form method")[0]
        assert "discard" in shown
        assert "queue:mail" in shown
        assert client.get("/do/bulk", params={f"x{n}": "y" for n in range(30)}).status_code == 400
    dashboard.close()


def test_what_is_too_much_is_refused_before_it_costs(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        began = time.monotonic()
        assert client.post("/do/pause", content=b"&a=1" * 400_000).status_code == 413
        assert time.monotonic() - began < 2
        for deep in (b"[" * 100_000, b'{"id":' * 100_000, b'{"id": "\\ud800"}', b"\xff\xfe", b'{"id": 1e999}'):
            answer = client.post("/api/v1/do/retry", content=deep, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400), deep[:20]
        assert client.post("/do/enqueue", data={"task": "t", "args": "[" * 100_000}).status_code == 400
        assert client.post("/do/enqueue", data={"task": "t", "args": '["\\ud800"]'}).status_code == 400
        assert client.post("/do/enqueue", data={"task": "t", "priority": "9" * 5000}).status_code == 400
        assert client.post("/do/pause", data={"kind": "queue", "name": "x" * 5000}).status_code == 400
    dashboard.close()
