"""Every screen, empty and full, with hostile names, with what cannot be decoded; every link leads somewhere."""

from __future__ import annotations

import json
import re
from wsgiref.util import setup_testing_defaults

import pytest
from starlette.testclient import TestClient

from longboat import Limit, Longboat
from longboat.contract.broker import Settlement
from longboat.contract.kv import Entry
from longboat.core import codec
from longboat.core.job import Dead, Failure, Job, State
from longboat.dashboard import charts, longboat_dashboard
from longboat.dashboard.screens import jobs
from longboat.observe.deploys import mark
from longboat.observe.history import failure_groups
from longboat.tasks.handle import LOGS, LogLine
from tests.rigs.dashboard import SCREENS, asking, links, stock

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}${7}"


@pytest.mark.parametrize("path", SCREENS)
def test_a_screen_of_an_empty_broker(bare: Longboat, path: str) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert client.get(path).status_code == 200
    dashboard.close()


def test_every_screen_and_every_link_on_it(page: TestClient) -> None:
    seen: set[str] = set()
    todo = set(SCREENS)
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = page.get(path)
        assert answer.status_code == 200, (path, answer.text[-500:])
        if "text/html" in answer.headers["content-type"]:
            todo |= {link for link in links(answer.text) if "/static/" not in link and "range=" not in link} - seen
        assert len(seen) < 1000, sorted(seen)[::20]
    assert len(seen) > 60, sorted(seen)


def test_no_screen_shows_a_notice_unasked(page: TestClient, stocked: Longboat) -> None:
    group = failure_groups(stocked.broker.kv)[0].fingerprint
    for path in (*SCREENS, f"/failures/{group}"):
        assert 'class="notice"' not in page.get(path).text, path
    page.post("/do/pause", data={"kind": "queue", "name": "mail"})
    assert '<p class="notice" role="status">queue mail paused</p>' in page.get("/queues").text


def test_static_files_are_there(page: TestClient) -> None:
    files = [link for link in links(page.get("/").text) if "/static/" in link]
    sources = re.findall(r'src="([^"]+)"', page.get("/").text)
    for path in files + sources:
        assert page.get(path).status_code == 200, path


def test_a_job_shows_all_that_is_known_of_it(page: TestClient, stocked: Longboat) -> None:
    dead = next(job for job in stocked.broker.inspector.jobs(State.DEAD).jobs if b"bad0" in job.payload)
    text = page.get(f"/jobs/{dead.id}").text
    for word in ("ValueError", "is not a width", "Traceback", "shop.resize", "Edit and retry", "Attempt 1", "bad0.png"):
        assert word in text, word
    done = next(job for job in stocked.broker.inspector.jobs(State.SUCCEEDED).jobs if job.task == "shop.resize")
    text = page.get(f"/jobs/{done.id}").text
    for word in ("resizing ", "half of it", "Run again"):
        assert word in text, word


def test_a_job_that_failed_says_why_first_and_its_log_can_be_narrowed(page: TestClient, stocked: Longboat) -> None:
    dead = next(job for job in stocked.broker.inspector.jobs(State.DEAD).jobs if b"bad0" in job.payload)
    text = page.get(f"/jobs/{dead.id}").text
    assert text.index("Failed attempts") < text.index("Timeline") < text.index("Arguments")
    done = next(job for job in stocked.broker.inspector.jobs(State.SUCCEEDED).jobs if job.task == "shop.resize")
    line = LogLine(1.0, "ERROR", "only this one", 2)
    stocked.broker.kv.write(LOGS + done.id, [Entry("9", codec.encode(line), 60)])
    for query, there in (
        ("", True),
        ("level=WARNING", True),
        ("level=ERROR", False),
        ("attempt=1", True),
        ("attempt=2", False),
    ):
        text = page.get(f"/jobs/{done.id}?{query}").text
        assert ("resizing " in text) is there, query
        assert ("only this one" in text) is (query != "attempt=1"), query


def test_limits_tell_who_holds_them_and_how_many_wait(bare: Longboat) -> None:
    @bare.task(name="t.limited", limit=Limit(key="{customer}", running=1))
    def limited(customer: str) -> None:
        del customer

    for _ in range(3):
        limited.enqueue("acme")
    consumer = bare.broker.consumer([], lease=10)
    (lease,) = consumer.receive(3, wait=1)
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        text = client.get("/limits").text
    consumer.close()
    dashboard.close()
    assert "acme" in text
    assert f'href="/jobs/{lease.job.id}"' in text
    assert re.search(r'strong">2</td>\s*<td class="num">1<span class="dim"> of 1</span>', text)


def test_where_nothing_has_happened_the_first_steps_are_shown(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert "longboat worker --url memory://" in client.get("/").text
        bare.send("t.any")
        client.post("/do/pause", data={"kind": "queue", "name": "other"})  # it looks again
        assert "longboat worker" not in client.get("/").text
    dashboard.close()


def test_a_page_of_what_has_ended_stops_asking(page: TestClient, stocked: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    inspector = stocked.broker.inspector
    dead, ready = inspector.jobs(State.DEAD).jobs[0], stocked.named("shop.nobody").enqueue().id
    assert "data-stream=" in page.get(f"/jobs/{ready}").text
    assert "data-stream=" in page.get(f"/jobs/{dead.id}").text, "its last log lines may still come"
    monkeypatch.setattr("longboat.dashboard.screens.job.LATE", 0.0)
    assert "data-stream=" not in page.get(f"/jobs/{dead.id}").text
    inspector.retry([dead.id])
    assert "data-stream=" in page.get(f"/jobs/{dead.id}").text


def test_secrets_are_masked(page: TestClient, stocked: Longboat) -> None:
    jobs = [job for job in stocked.broker.inspector.jobs(State.SUCCEEDED).jobs if job.queue == "mail"]
    for path in (f"/jobs/{jobs[0].id}", f"/jobs/{jobs[0].id}?edit=1", f"/api/v1/jobs/{jobs[0].id}", "/jobs", "/jobs.csv"):
        text = page.get(path).text
        assert "hunter2" not in text, path
        assert "api_token" in text, path


def test_hostile_text_in_every_field_is_shown_as_text(bare: Longboat) -> None:
    payload = codec.encode({HOSTILE: HOSTILE, "*": [HOSTILE]})
    job = Job(1, HOSTILE, HOSTILE, payload, HOSTILE, headers={HOSTILE: HOSTILE, "edited": HOSTILE})
    bare.broker.put([job])
    consumer = bare.broker.consumer([], lease=10, name=HOSTILE)
    (lease,) = consumer.receive(1, wait=1)
    failure = Failure(HOSTILE, HOSTILE, HOSTILE, 1, 1.0, HOSTILE)
    dashboard = longboat_dashboard(bare, title=HOSTILE, local_role="admin")
    with asking(dashboard) as client:
        quoted = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22'&%7B%7B7*7%7D%7D$%7B7%7D".replace("&", "%26")
        for settled in (False, True):
            if settled:
                consumer.settle([Settlement(lease, Dead(failure))])
            for path in ("/", "/queues", "/jobs", "/workers", "/tasks", "/flows", f"/jobs/{quoted}", f"/queues/{quoted}"):
                answer = client.get(path)
                assert answer.status_code == 200, path
                assert "<script>alert" not in answer.text, path
                assert "{{7*7}}" in answer.text, path
            for path in ("/jobs", "/do/cancel", "/do/purge", "/bulk"):
                answer = client.get(
                    path, params={"q": HOSTILE, "id": HOSTILE, "queue": HOSTILE, "state": "dead", "verb": "retry"}
                )
                assert "<script>alert" not in answer.text, path
    consumer.close()
    dashboard.close()


def test_no_text_within_the_data_of_charts_is_read_as_markup() -> None:
    made = charts.embedded({"deploys": [[1.0, HOSTILE]]})
    assert "<" not in made
    assert json.loads(made) == {"deploys": [[1.0, HOSTILE]]}


def test_what_cannot_be_decoded_is_shown(bare: Longboat) -> None:
    bare.broker.put(
        [Job(1, f"bad{n}", "t", data) for n, data in enumerate((b"\xc1", b"\x81", b"", b"\xff" * 5000, b"\xdc\xff\xff"))]
    )
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        for path in ("/jobs", "/jobs?q=args.x:1", "/jobs.csv", "/api/v1/jobs", *(f"/jobs/bad{n}" for n in range(5))):
            assert client.get(path).status_code == 200, path
        assert "cannot be decoded" in client.get("/jobs/bad0").text
        assert "undecodable" in client.get("/api/v1/jobs/bad0").json()
    dashboard.close()


def test_csv_has_no_formulas(bare: Longboat) -> None:
    bare.broker.put([Job(1, "=1+1", "@sum", b"\x80")])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        answer = client.get("/jobs.csv")
    dashboard.close()
    assert answer.headers["content-disposition"] == 'attachment; filename="jobs.csv"'
    assert answer.text.splitlines()[1].startswith(""""'=1+1","ready","default","'@sum",""")


def test_csv_has_all_jobs_and_says_so_where_it_has_not(bare: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "IN_PART", 2)
    monkeypatch.setattr(jobs, "WHOLE", 4)
    bare.broker.put([Job(1, str(number), "t", b"\x80") for number in range(9)])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert len(client.get("/jobs.csv").text.splitlines()) == 10
    environ = {"PATH_INFO": "/jobs.csv", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1"}
    setup_testing_defaults(environ)
    whole = b"".join(dashboard.wsgi(environ, lambda *_: lambda _: None)).decode().splitlines()
    dashboard.close()
    assert len(whole) == 6
    assert "the first 4 jobs, and there are more" in whole[-1], "what WSGI answers is held in memory"


@pytest.mark.parametrize(
    ("q", "wrong"),
    [
        ("state:broken", "no state"),
        ("queue:", "needs a value"),
        ("task:a task:b", "twice"),
        ("at:noon", "is not a time such as 03:12"),
    ],
)
def test_a_search_that_makes_no_sense_is_answered_with_what_is_wrong(page: TestClient, q: str, wrong: str) -> None:
    answer = page.get("/jobs", params={"q": q})
    assert answer.status_code == 200
    assert wrong in answer.text


def test_a_search_for_a_time_tells_which_time_it_is(page: TestClient) -> None:
    text = page.get("/jobs", params={"q": "after:2020-01-01 state:dead"}).text
    assert "Jobs that ran from 2020-01-01 00:00:00" in text
    assert "shop.resize" in text
    assert "No jobs match." in page.get("/jobs", params={"q": "before:2020-01-01"}).text
    found = page.get("/api/v1/jobs", params={"q": "after:2020-01-01Z state:dead,ready"}).json()
    assert found["ran"] == [1577836800.0, None]
    assert {each["state"] for each in found["jobs"]} == {"dead"}


def test_failures_are_told_beside_the_deploys(bare: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_VERSION", "v1<b>")
    stock(bare)
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        text = client.get("/failures").text
        assert "Since v1&lt;b&gt;" in text
        text = client.get("/failures", params={"since_deploy": "newest", "new": "1"}).text
        assert "ValueError" in text
        assert '<span class="tag bad">new</span>' in text
        mark(bare.broker.kv, "v2", "ann@web-1")
    dashboard.close()
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        assert "Nothing has failed since v2." in client.get("/failures", params={"since_deploy": "v2"}).text
        assert "v2 has brought no new failures." in client.get("/failures", params={"new": "1"}).text
        assert "known are v2, v1" in client.get("/failures", params={"since_deploy": "v9"}).text
        assert "is not one of last" in client.get("/failures", params={"sort": "size"}).text
        assert "No failures match." in client.get("/failures", params={"q": "task:nothing"}).text
        assert [each["version"] for each in client.get("/api/v1/deploys").json()] == ["v2", "v1<b>"]
        (one,) = client.get("/api/v1/failures", params={"q": "task:shop.resize", "sort": "count"}).json()
        assert (one["count"] > 0, one["since_deploy"], one["new"]) == (True, 0, False)
        assert client.get("/api/v1/failures", params={"since_deploy": "v9"}).status_code == 400
        marks = client.get("/api/v1/history").json()["deploys"]
        assert [version for _, version in marks] == ["v2", "v1<b>"]
    dashboard.close()


def test_a_broker_that_does_not_answer_is_told(page: TestClient, stocked: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    from longboat.errors import BrokerUnavailable

    def down(*_: object, **__: object) -> None:
        raise BrokerUnavailable("redis://user:•@host does not answer")

    monkeypatch.setattr(type(stocked.broker.inspector), "jobs", down)
    answer = page.get("/jobs")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert page.get("/api/v1/jobs").json()["error"].endswith("does not answer")
