"""What is named like a secret, and what is one in a text, is shown on no screen, found by no search, and kept by an edit."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from longboat import Longboat
from longboat.contract.kv import Entry
from longboat.core import codec
from longboat.core.job import Failure, Job
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.plain import MASK, masked, masked_text, unmasked
from longboat.dashboard.screens import SCREENS
from longboat.observe import history
from longboat.observe.history import FailureGroup, fingerprint
from longboat.operate import scheduler
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress
from longboat.tasks.schedule import Schedule
from tests.rigs.dashboard import asking, settle

SECRET = "hunter2-and-more"
HIDDEN = {
    "password": SECRET,
    "api-key": SECRET,
    "X-Api-Key": SECRET,
    "Authorization": f"Bearer {SECRET}",
    "dbPass": SECRET,
    "nested": [{"client_secret": SECRET, "access_token": {"value": SECRET}}],
    "url": f"redis://:p@{SECRET}@host/0",
    "hook": f"https://example.org/?a=1&access_token={SECRET}",
    "line": f"Authorization: Bearer {SECRET}",
}


def secretive(app: Longboat) -> None:
    text = f"{HIDDEN['url']} {HIDDEN['hook']} {HIDDEN['line']}"
    failure = Failure("E", text, text, 1, time.time())
    for job_id in ("dead", "ready"):
        headers = {name: value for name, value in HIDDEN.items() if isinstance(value, str)}
        app.broker.put([Job(1, job_id, "t", codec.encode(HIDDEN), "q", headers=headers)])
        if job_id == "dead":
            settle(app.broker, "q", failure)
    group = FailureGroup(fingerprint("t", failure), "E", text, "t", 1, 1.0, 1.0, "dead")
    app.broker.kv.write(history.FAILURES, [Entry(group.fingerprint, msgspec.msgpack.encode(group))])
    app.broker.kv.write(LOGS + "dead", [Entry("1", msgspec.msgpack.encode(LogLine(1.0, "INFO", text)))])
    app.broker.kv.write(PROGRESS, [Entry("dead", msgspec.msgpack.encode(Progress(1, 2, text)))])
    schedule = Schedule(name="s", rule="* * * * *", task="t", payload=codec.encode(HIDDEN))
    app.broker.kv.write(scheduler.NAMESPACE, [Entry("s", msgspec.msgpack.encode(schedule))])


def test_no_screen_shows_a_secret(bare: Longboat) -> None:
    secretive(bare)
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        (group,) = client.get("/api/v1/failures").json()
        fixed = ["/jobs/dead", "/jobs/dead?edit=1", "/jobs/ready", "/api/v1/jobs/dead", f"/failures/{group['fingerprint']}"]
        plain = [path for method, path, _ in SCREENS if method == "GET" and "{" not in path]
        for path in (*plain, *fixed):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert SECRET not in answer.text, path
        assert client.get("/jobs/dead").text.count(MASK) > 10
    dashboard.close()


def test_what_is_masked_is_not_found_by_guessing(bare: Longboat) -> None:
    """Else whoever may look could spell a secret out, letter by letter, with `args.password:h*`."""
    secretive(bare)
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for search in ("args.password:h*", f"args:{SECRET}", f"error:{SECRET}", SECRET, "args.nested.0.client_secret:h*"):
            assert client.get("/api/v1/jobs", params={"q": search}).json()["jobs"] == [], search
            assert "hunter" not in client.get("/jobs.csv", params={"q": search}).text
            for verb in ("retry", "cancel"):
                found = client.get("/api/v1/bulk", params={"q": search, "verb": verb}).json()
                assert found["count"] == 0, (search, verb)
        assert len(client.get("/api/v1/jobs", params={"q": "args.url:redis*"}).json()["jobs"]) == 2
    dashboard.close()


def test_masks_are_found_quickly_in_any_text() -> None:
    texts = ["&" + "token" * 100_000, "?" * 500_000, "://a:" * 100_000, "bearer " * 70_000, "authorization " + " " * 500_000]
    began = time.monotonic()
    for text in texts:
        masked_text(text)
    assert time.monotonic() - began < 5
    assert masked({"compass": 1, "author": 2, "token_count": 3}) == {"compass": 1, "author": 2, "token_count": 3}
    assert masked_text("basic configuration of http://host:80/a@b") == "basic configuration of http://host:80/a@b"


def test_what_json_cannot_say_is_kept_by_an_edit() -> None:
    deep: Any = "end"
    for _ in range(60):
        deep = [deep]
    original = {
        "data": b"\xff\x00",
        "nan": float("inf"),
        "deep": deep,
        "by": {7: b"seven", "x": 1},
        "url": "x://u:p@h",
        "n": 1,
    }
    shown = masked(original)
    shown["n"] = 2
    shown["by"]["x"] = 3
    assert unmasked(shown, original) == {**original, "n": 2, "by": {7: b"seven", "x": 3}}
