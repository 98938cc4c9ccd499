"""What jobs, notes, names and searches hold is anybody's text: no screen obeys it, or breaks by it."""

from __future__ import annotations

import csv
import io
import re
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser

import msgspec
import pytest
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.client import flows
from longboat.contract.kv import Entry
from longboat.core import codec
from longboat.core.job import Failure, Job, State
from longboat.dashboard import bulk, longboat_dashboard
from longboat.dashboard.screens import SCREENS
from longboat.observe import depth, history
from longboat.observe.history import FailureGroup, WorkerRecord, fingerprint
from longboat.operate import audit, pauses, scheduler
from longboat.tasks.flow import Plan
from longboat.tasks.handle import LOGS, PROGRESS, LogLine, Progress
from longboat.tasks.schedule import Schedule
from tests.rigs.dashboard import HERE, asking, settle, shop, until

EVIL = "\"'><img src=x onerror=alert(1)>{{7*7}}\r\nSet-Cookie: evil=1\u202e\u2028=cmd|' /C calc'!A0"
"""Markup, a template, a header, turned writing, a formula."""


@pytest.fixture
def evil(bare: Longboat) -> Longboat:
    """EVIL in every field that anything comes from: jobs, failures, logs, workers, schedules, flows, bulk actions, audit."""
    broker, kv, at = bare.broker, bare.broker.kv, time.time()
    failure = Failure(EVIL, EVIL, EVIL, 1, at, EVIL)
    payload = codec.encode({EVIL: EVIL, "x": [EVIL, {"y": EVIL}]})
    for name, died in (("dead", failure), ("done", EVIL)):
        queue = f"{name} {EVIL}"
        broker.put([Job(1, f"{name} {EVIL}", EVIL, payload, queue, headers={EVIL: EVIL, "parent": EVIL}, enqueued=at)])
        settle(broker, queue, died)
        kv.write(LOGS + f"{name} {EVIL}", [Entry("1", msgspec.msgpack.encode(LogLine(at, EVIL, EVIL)))])
        kv.write(PROGRESS, [Entry(f"{name} {EVIL}", msgspec.msgpack.encode(Progress(1, 2, EVIL)))])
    broker.put([Job(1, f"ready {EVIL}", EVIL, payload, f"ready {EVIL}"), Job(1, "raw", EVIL, b"\xc1\xff\x00", EVIL)])
    alike = fingerprint(EVIL, failure)
    record = WorkerRecord(EVIL, EVIL, EVIL, 1, EVIL, at, [EVIL], [EVIL], {EVIL: 1}, [(EVIL, EVIL, at)], 1, 1)
    group = FailureGroup(alike, EVIL, EVIL, EVIL, 1, at, at, f"dead {EVIL}")
    plan = Plan(EVIL, at, f"dead {EVIL}", 1)
    run = bulk.Run("run", EVIL, EVIL, EVIL, at, at, error=EVIL, state="failed")
    schedule = Schedule(name=EVIL, rule="* * * * *", tz=EVIL, task=EVIL, payload=payload, queue=EVIL)
    kv.write(history.WORKERS, [Entry("w", msgspec.msgpack.encode(record))])
    kv.write(history.FAILURES, [Entry(alike, msgspec.msgpack.encode(group))])
    kv.write(flows.NAMESPACE, [Entry(EVIL, msgspec.msgpack.encode(plan))])
    kv.write(flows.MEMBERS + EVIL, [Entry("1", msgspec.msgpack.encode([(f"dead {EVIL}", EVIL)]))])
    kv.write(bulk.NAMESPACE, [Entry("run", msgspec.msgpack.encode(run))])
    kv.write(scheduler.NAMESPACE, [Entry(EVIL, msgspec.msgpack.encode(schedule))])
    pauses.pause(kv, "queue", EVIL, True)
    pauses.pause(kv, "task", EVIL, True)
    audit.record(kv, audit.By(EVIL, "", EVIL, EVIL, EVIL), EVIL, EVIL, ["one"])
    return bare


@pytest.fixture
def look(evil: Longboat) -> Iterator[TestClient]:
    dashboard = longboat_dashboard(evil, title=EVIL, local_role="admin")
    with asking(dashboard) as client:
        yield client
    dashboard.close()


class Markup(HTMLParser):
    """Fails at a tag or an attribute that no template of ours has, and at links that leave."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("img", "iframe", "object", "base"), self.path
        for name, value in attrs:
            assert re.fullmatch(r"[a-zA-Z-]+", name), (self.path, name)
            assert not name.startswith("on"), (self.path, name)
            assert name != "style", self.path
            if name in ("href", "src", "action", "formaction", "data-stream"):
                assert re.match(r"/(?!/)|#", value or ""), (self.path, name, value)


def paths() -> list[str]:
    """Every screen, with EVIL wherever a path or a query can say something."""
    from longboat.dashboard.words import segment

    evil = segment(EVIL)
    found = []
    for method, path, _ in SCREENS:
        if method == "GET":
            named = path.replace("{name:path}", evil).replace("{id:path}", evil).replace("{verb}", "purge")
            found.append(re.sub(r"\{[a-z]+\}", evil, named))
    found += [f"{path}/{state}%20{evil}" for path in ("/jobs", "/api/v1/jobs") for state in ("dead", "done", "ready")]
    return [
        *found,
        "/jobs/raw",
        "/api/v1/jobs/raw",
        "/bulk/run",
        "/api/v1/bulk/run",
        f"/jobs/{segment('done ' + EVIL)}?edit=1",
    ]


def queries() -> list[dict[str, str]]:
    names = ("q", "after", "range", "queue", "task", "verb", "next", "state", "id", "name", "edit", "limit", "to")
    return [{}, dict.fromkeys(names, EVIL), {"q": "", "verb": "discard", "queue": EVIL, "state": "dead", "next": "/" + EVIL}]


def test_no_text_is_markup_a_header_or_a_fault(look: TestClient) -> None:
    seen = set()
    for path in paths():
        for query in queries():
            answer = look.get(path, params=query) if query else look.get(path)
            assert answer.status_code in (200, 204, 400, 404), (path, query, answer.text[:300])
            assert "evil" not in answer.headers.get("set-cookie", ""), path
            assert "content-security-policy" in answer.headers
            kind = answer.headers["content-type"].partition(";")[0]
            seen.add((kind, answer.status_code))
            if kind == "text/html":
                Markup(path).feed(answer.text)
                assert "onerror=alert(1)&gt;49" not in answer.text, "a template was made of it"
            elif kind == "application/json":
                answer.json()
    assert {("text/html", 200), ("application/json", 200), ("text/csv", 200), ("text/html", 404)} <= seen


def test_what_is_looked_at_is_what_was_put(look: TestClient, evil: Longboat) -> None:
    from html import unescape

    for name in ("dead", "done", "ready"):
        job_id = f"{name} {EVIL}"
        link = next(each for each in re.findall(r'href="(/jobs/[^"]*)"', look.get("/jobs").text) if f"/{name}%20" in each)
        assert job_id.split("\r")[0] in unescape(look.get(unescape(link)).text)
    (dead,) = evil.broker.inspector.jobs(State.DEAD).jobs
    assert look.post("/do/retry", data={"id": dead.id, "next": "/jobs/" + EVIL}).headers["location"] == "/"
    entry = audit.newest(evil.broker.kv)[0]
    assert (entry.verb, entry.who) == ("retry", "local")
    assert entry.what.isprintable(), "an entry is one line"


def test_spreadsheets_find_no_formulas(bare: Longboat) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "|x", "%x"]
    for place, text in enumerate(formulas):
        bare.broker.put([Job(1, f"{text}{place}", f'{text}"\n=2,=3;=4', codec.encode({"*": [text]}), "q")])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        text = client.get("/jobs.csv").text
    dashboard.close()
    lines = list(csv.reader(io.StringIO(text, newline="")))
    assert len(lines) == len(formulas) + 1
    for line in lines[1:]:
        assert len(line) == len(lines[0])
        assert line[0][0] == line[3][0] == "'"
    assert ";=4" not in text.replace('\n=2,=3;=4"', ""), "every text stands in quotes"


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x01", b"\xa1\xff", b"\x80", b"\x90", b"\x91\x91\x01", b"\xff" * 50])
def test_notes_that_nobody_can_read_break_no_screen(bare: Longboat, value: bytes) -> None:
    kv = bare.broker.kv
    bare.broker.put([Job(1, "one", "t", b"\x80", "q")])
    spaces = [
        *(
            history.WORKERS,
            history.FAILURES,
            flows.NAMESPACE,
            flows.MEMBERS + "x",
            bulk.NAMESPACE,
            scheduler.NAMESPACE,
            scheduler.STATE,
        ),
        *(pauses.NAMESPACE, audit.NAMESPACE, PROGRESS, LOGS + "one"),
    ]
    for namespace in spaces:
        kv.write(namespace, [Entry(key, value) for key in ("x", "one")])
    for grain in history.GRAINS:
        for namespace in (grain.namespace, depth._namespace(grain)):
            kv.write(namespace, [Entry(f"{time.time() // 10 * 10 - 20:012.0f}", value)])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for method, path, _ in SCREENS:
            if method == "GET":
                at = re.sub(r"\{[a-z]+(:path)?\}", "one" if "jobs" in path else "x", path)
                assert client.get(at).status_code in (200, 400, 404), at
        assert "cannot be read here" in client.get("/schedules").text
        assert [each["next"] for each in client.get("/api/v1/schedules").json()] == [None, None]
        assert client.get("/flows").status_code == 200
    dashboard.close()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300, -1e300])
def test_progress_that_is_no_number(bare: Longboat, number: float) -> None:
    bare.broker.put([Job(1, "one", "t", b"\x80", "q")])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for said in ([number, 3.0, "", 0.0], [3.0, number, "", 0.0], [1.0, None, "", number]):
            bare.broker.kv.write(PROGRESS, [Entry("one", msgspec.msgpack.encode(said))])
            for path in ("/jobs/one", "/api/v1/jobs/one", "/jobs"):
                assert client.get(path).status_code == 200, (path, said)
    dashboard.close()


@pytest.mark.parametrize("at", [1e300, -1e300, float("inf"), float("nan"), 1e18])
def test_times_of_a_caller_without_a_clock(bare: Longboat, at: float) -> None:
    bare.broker.put([Job(1, "one", "t", b"\x80", "q")])
    settle(bare.broker, "q", Failure("E", "m", "", 1, at))
    bare.broker.put([Job(1, "two", "t", b"\x80", "q")])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for path in ("/", "/jobs", "/jobs/one", "/jobs/two", "/api/v1/jobs/one", "/jobs.csv", "/queues", "/failures"):
            assert client.get(path).status_code == 200, path
    dashboard.close()


def test_a_page_that_cannot_be_made_is_an_answer_all_the_same(bare: Longboat, caplog: pytest.LogCaptureFixture) -> None:
    from longboat.dashboard.ask import Page
    from longboat.dashboard.guard import Guard
    from longboat.dashboard.mounted import role
    from longboat.dashboard.sessions import Sessions
    from longboat.dashboard.site import Site
    from longboat.dashboard.web import Web

    def broken(site: Site, ask: object) -> Page:  # noqa: ARG001  # as its protocol has it
        return Page("job.html", {"job": None})

    site = Site(bare)
    asgi = Web(site, Guard({}, None, role("admin"), Sessions(lambda: bare.broker))).asgi([("GET", "/x/{name:path}", broken)])
    with TestClient(asgi, base_url=HERE, client=("127.0.0.1", 1)) as client:
        answer = client.get("/x/a%0aWARNING b")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers
    assert "\nWARNING" not in caplog.text, "no line of the log is written by a path"


# --- searches


def test_no_search_is_a_catastrophe(bare: Longboat) -> None:
    bare.broker.put([Job(1, f"job{n}", "t", codec.encode({"a": "a" * 50_000}), "q") for n in range(20)])
    bad = [
        "args:" + "*a" * 60 + "b",
        "args:" + "?" * 500 + "b",
        "error:" + "[" * 1000,
        "'" * 1001,
        "\\" * 1000,
        "args.a:" + "a*" * 60,
    ]
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        began = time.monotonic()
        for search in (
            *bad,
            "args." + "." * 1000 + ":x",
            "state:" + "dead," * 1000,
            "task:x task:y",
            "state:",
            "id:" + "," * 1000,
        ):
            assert client.get("/jobs", params={"q": search}).status_code == 200, search[:50]
        assert time.monotonic() - began < 20
        assert client.get("/api/v1/jobs", params={"q": "a " * 30_000}).status_code == 400
        assert client.post("/do/bulk", data={"verb": "retry", "q": "a " * 30_000}).status_code == 400
    dashboard.close()


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_an_after_that_no_page_gave_is_refused(scheme: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    url = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.db"
    with shop(url) as app:
        app.broker.put([Job(1, f"j{n}", "t", b"\x80", "q") for n in range(3)])
        dashboard = longboat_dashboard(app, local_role="admin")
        with asking(dashboard) as client:
            for cursor in (
                "x",
                "{}",
                "[]",
                "1",
                "[1]",
                '["q",1,2,3,4,5]',
                '[null,{},"x"]',
                '["q"',
                "\x00",
                '["q",1e999,1]',
                "[[[]]]",
            ):
                for state in ("ready", "dead", "running", "scheduled"):
                    answer = client.get("/api/v1/jobs", params={"after": f"{state}:{cursor}"})
                    assert answer.status_code in (200, 400), (cursor, state, answer.text)
                    assert client.get("/jobs", params={"after": f"{state}:{cursor}"}).status_code == 200
        dashboard.close()


# --- the audit log


def test_the_audit_log_is_bounded_and_read_from_its_end(bare: Longboat) -> None:
    kv = bare.broker.kv
    for number in range(30):
        audit.record(kv, audit.By("who", "page", role="admin"), "retry", f"change {number} " + "x" * 5000)
    kv.write(
        audit.NAMESPACE,
        [Entry("0000000000000001-x", msgspec.msgpack.encode(audit.AuditEntry(1.0, "old", "admin", "v", "w")))],
    )
    assert [entry.what.split()[1] for entry in audit.newest(kv, 3)] == ["29", "28", "27"]
    assert all(len(entry.what) <= audit.LONGEST for entry in audit.newest(kv))
    audit.trim(kv, 10)
    left = audit.newest(kv)
    assert [entry.what.split()[1] for entry in left] == [str(number) for number in range(29, 19, -1)]
    assert len(kv.entries(audit.NAMESPACE)) == 10


def test_the_audit_log_says_what_was_done_to_which_job(bare: Longboat) -> None:
    bare.broker.put([Job(1, "one", "t", b"\x80", "q"), Job(1, "two", "t", b"\x80", "q")])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        client.post("/do/cancel", data={"id": ["one", "two"]})
        client.post("/do/discard", data={"id": ["one"] + [f"x{n}" for n in range(100)]})
    dashboard.close()
    last, first = audit.newest(bare.broker.kv)
    assert first.what == "2 jobs cancelled (one, two)"
    assert "one, x0" in last.what
    assert "and 81 more" in last.what


def test_bulk_actions_have_a_limit(bare: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = threading.Event()
    monkeypatch.setattr(bulk, "_work", lambda *_: limit.wait(60))
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for _ in range(bulk.AT_ONCE):
            assert client.post("/do/bulk", data={"verb": "retry"}).status_code == 303
        assert client.post("/do/bulk", data={"verb": "retry"}).status_code == 429
        limit.set()
        until(lambda: client.post("/do/bulk", data={"verb": "retry"}).status_code == 303)
    dashboard.close()
