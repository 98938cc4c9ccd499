"""The audit: whoever changes something, on whatever way, stands there and on the job, with a reason."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.cli.main import run
from longboat.core.job import Failure, State
from longboat.dashboard import longboat_dashboard
from longboat.errors import BrokerUnavailable
from longboat.operate import audit
from longboat.operate.explain import explain
from tests.rigs.dashboard import asking, settle, shop, until

ME = f"{getpass.getuser()} on {socket.gethostname()}"
LATE = "the customer has left"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with shop(f"sqlite:///{tmp_path / 'jobs.db'}") as app:
        yield app


@pytest.fixture
def page(app: Longboat) -> Iterator[TestClient]:
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as client:
        yield client
    dashboard.close()


def job(app: Longboat) -> str:
    return app.named("shop.resize").using(delay="1h").enqueue(path="a.png", width=1).id


@pytest.mark.parametrize(
    ("way", "by"),
    [
        ("page", "local on the page"),
        ("API", "local through the API"),
        ("command", f"{ME} from the command line"),
        ("query", f"{ME} from the command line"),
        ("Python", f"{ME} from Python"),
        ("bulk", "local on the page"),
    ],
)
def test_who_cancelled_a_job_and_why_is_told_everywhere(
    way: str, by: str, app: Longboat, page: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id, url = job(app), ["--url", app.url]
    fields = {"id": job_id, "reason": LATE}
    match way:
        case "page":
            page.post("/do/cancel", data=fields)
        case "API":
            page.post("/api/v1/do/cancel", json=fields)
        case "command":
            assert run(["cancel", job_id, "--reason", LATE, *url]) == 0
        case "query":
            assert run(["jobs", "cancel", "task:shop.resize", "--yes", "--reason", LATE, *url]) == 0
        case "Python":
            assert app.job(job_id).cancel(reason=LATE)
        case _:
            page.post("/do/bulk", data={"verb": "cancel", "q": "task:shop.resize", "reason": LATE})
            until(lambda: any("1 of 1 cancelled" in each.what for each in audit.newest(app.broker.kv)))
    (act,) = audit.of_job(app.broker.kv, job_id)
    assert (act.verb, act.by, act.reason) == ("cancel", by, LATE)
    assert audit.newest(app.broker.kv) == [act]
    shown = page.get(f"/jobs/{job_id}").text
    assert f"Cancelled by <b>{by}</b>: {LATE}" in shown
    assert by in page.get("/audit", params={"q": "has LEFT"}).text
    assert "No such changes" in page.get("/audit", params={"q": "another"}).text
    (told,) = page.get(f"/api/v1/jobs/{job_id}").json()["acts"]
    assert (told["who"], told["reason"]) == (act.who, LATE)
    assert page.get("/api/v1/audit").json() == [told]
    assert f"cancelled by {by}" in (explain(app.broker, job_id) or "")
    capsys.readouterr()
    assert run(["jobs", "show", job_id, *url]) == 0
    assert f"cancelled by {by} at 20" in (out := capsys.readouterr().out)
    assert f": {LATE}\n" in out
    for which in ([], [job_id]):
        assert run(["audit", *which, "--json", *url]) == 0
        assert json.loads(capsys.readouterr().out) == told
        assert run(["audit", *which, *url]) == 0
        assert LATE in capsys.readouterr().out


def test_every_command_that_changes_something_is_in_the_audit(app: Longboat) -> None:
    app.named("shop.resize").using(id="dead").enqueue(path="b.png", width=-1)
    settle(app.broker, "default", Failure("E", "e"))
    total: Any = app.named("shop.total")
    flow = app.named("shop.resize").s(path="c.png", width=1).then(total).enqueue()
    app.add_schedule(app.named("shop.resize"), "0 7 * * *", name="daily", kwargs={"path": "d.png", "width": 1})
    commands: list[tuple[str, list[str]]] = [
        ("pause", ["pause", "--queue", "mail"]),
        ("resume", ["resume", "--queue", "mail"]),
        ("pause", ["pause", "--search", "args.to:a  task:shop.send_mail"]),
        ("resume", ["resume", "--search", "task:shop.send_mail args.to:a"]),
        ("schedule-pause", ["schedules", "pause", "daily"]),
        ("schedule-resume", ["schedules", "resume", "daily"]),
        ("schedule-run", ["schedules", "run", "daily"]),
        ("schedule-remove", ["schedules", "remove", "daily"]),
        ("retry", ["dead", "retry", "dead", "--yes"]),
        ("move", ["jobs", "move", "id:dead", "--to-queue", "other", "--yes"]),
        ("discard", ["jobs", "discard", "id:dead", "--yes"]),
        ("flow-cancel", ["flows", "cancel", flow.id]),
        ("purge", ["purge", "--state", "cancelled", "--yes"]),
    ]
    for verb, words in commands:
        assert run([*words, "--reason", verb.upper(), "--url", app.url]) == 0, words
        act = audit.newest(app.broker.kv, 1)[0]
        assert (act.verb, act.reason, act.by) == (verb, verb.upper(), f"{ME} from the command line")
    assert [act.verb for act in audit.of_job(app.broker.kv, "dead")] == ["retry", "move", "discard"]
    assert run(["pause", "--queue", "mail", "--url", app.url]) == 0
    assert run(["pause", "--queue", "mail", "--url", app.url]) == 0
    assert len(audit.newest(app.broker.kv)) == len(commands) + 1, "what changes nothing is no act"


def test_calls_in_python_are_acts_too(app: Longboat) -> None:
    total: Any = app.named("shop.total")
    flow = app.named("shop.resize").s(path="c.png", width=1).then(total).enqueue()
    assert flow.cancel(reason=LATE) == 2
    app.named("shop.resize").using(id="dead").enqueue(path="b.png", width=-1)
    settle(app.broker, "default", Failure("E", "e"))
    assert app.job("dead").status() is State.DEAD
    assert app.job("dead").retry()
    assert not app.job("dead").retry()
    assert [(act.verb, act.reason) for act in audit.newest(app.broker.kv)] == [("retry", ""), ("flow-cancel", LATE)]
    assert all(audit.of_job(app.broker.kv, each.id) for each in flow.jobs())


def test_a_change_is_done_though_the_audit_cannot_be_written(app: Longboat, caplog: pytest.LogCaptureFixture) -> None:
    job_id, kv = job(app), app.broker.kv

    def refuse(*_: Any) -> None:
        raise BrokerUnavailable("not now")

    kv.write = refuse  # type: ignore[method-assign, assignment]  # as a broker that goes away at that moment
    assert app.job(job_id).cancel()
    assert app.job(job_id).status() is State.CANCELLED
    assert "the audit log could not be written: not now" in caplog.text


def test_marks_of_other_jobs_and_what_cannot_be_read_are_left_out(app: Longboat) -> None:
    kv, by = app.broker.kv, audit.here("Python")
    audit.record(kv, by, "retry", "x", ["a", "a:b"])
    audit.record(kv, by, "cancel", "x", ["a:b"])
    audit.mark(kv, "unknown", ["a"])
    assert [act.verb for act in audit.of_job(kv, "a")] == ["retry"]
    assert [act.verb for act in audit.of_job(kv, "a:b")] == ["retry", "cancel"]
    pages = audit.newest(kv, 1), audit.newest(kv, 1, before=audit.newest(kv, 1)[0].id)
    assert [[act.verb for act in page] for page in pages] == [["cancel"], ["retry"]]
