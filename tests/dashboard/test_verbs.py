"""What can be done by forms and by the API: each changes what it says, says so, and stands in the audit log."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from urllib.parse import quote_plus

import pytest
from starlette.testclient import TestClient

from longboat import Limit, Longboat, Unique
from longboat.client.flows import newest
from longboat.core import codec
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Job, State
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.plain import MASK
from longboat.dashboard.verbs import VERBS
from longboat.operate import audit, scheduler
from longboat.operate.pauses import paused
from longboat.tasks.schedule import Schedule
from longboat.worker.task_records import TaskRecordWriter
from tests.rigs.dashboard import asking, run_one, until


@dataclass
class Order:
    shop: str


def test_retry_by_a_form(page: TestClient, stocked: Longboat) -> None:
    dead = stocked.broker.inspector.jobs(State.DEAD).jobs
    answer = page.post("/do/retry", data={"id": [dead[0].id, dead[1].id], "next": "/jobs?q=state:dead"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?q=state:dead")
    assert [view.state for view in stocked.broker.inspector.find([dead[0].id, dead[1].id]) if view] == [State.READY] * 2
    assert "2 jobs retried" in page.get("/jobs").text
    assert "2 jobs retried" not in page.get("/jobs").text, "it is said once"
    assert "2 jobs retried" in page.get("/audit").text, "it stands in the audit log"
    entry = audit.newest(stocked.broker.kv)[0]
    assert (entry.who, entry.role, entry.verb) == ("local", "admin", "retry")


def test_cancel_and_discard(page: TestClient, stocked: Longboat) -> None:
    (later,) = stocked.broker.inspector.jobs(State.SCHEDULED).jobs
    page.post("/do/cancel", data={"id": later.id})
    assert stocked.broker.inspector.find([later.id])[0].state is State.CANCELLED  # type: ignore[union-attr]  # it is there
    dead = next(job for job in stocked.broker.inspector.jobs(State.DEAD).jobs if job.constraints is None)
    assert "Delete 1 job for good?" in page.get("/do/discard", params={"id": dead.id}).text
    page.post("/do/discard", data={"id": dead.id})
    assert stocked.broker.inspector.find([dead.id]) == [None]
    assert stocked.broker.transfer.unconfirmed() == []


def test_edit_keeps_what_is_masked(bare: Longboat) -> None:
    bare.broker.put(
        [Job(1, "one", "elsewhere.send", codec.encode({"to": "a", "api_token": "hunter2", "at": "x://u:pw@h"}), "q")]
    )
    run_one(bare.broker, "q")
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        args = json.dumps({"to": "b", "api_token": MASK, "at": f"x://u:{MASK}@h"})
        answer = client.post("/do/edit", data={"id": "one", "args": args})
        assert answer.headers["location"].startswith("/jobs/")
        (made,) = bare.broker.inspector.jobs(State.READY).jobs
        assert codec.decode(made.payload) == {"to": "b", "api_token": "hunter2", "at": "x://u:pw@h"}
        assert (made.task, made.queue, made.headers) == ("elsewhere.send", "q", {"edited": "one"})
        for wrong in ("{", "[1]", "1"):
            assert client.post("/do/edit", data={"id": "one", "args": wrong}).status_code == 400, wrong
    dashboard.close()


def test_enqueue_by_the_form_of_a_signature(page: TestClient, stocked: Longboat) -> None:
    form = page.get("/tasks/shop.resize").text
    assert 'name="arg.path"' in form
    assert 'name="arg.width"' in form
    assert page.post("/do/enqueue", data={"task": "shop.resize", "arg.path": "7", "arg.width": "wide"}).status_code == 400
    answer = page.post("/do/enqueue", data={"task": "shop.resize", "arg.path": "7", "arg.width": "12", "queue": "other"})
    view = stocked.broker.inspector.find([answer.headers["location"].removeprefix("/jobs/")])[0]
    assert view is not None
    assert (codec.decode(view.payload), view.queue) == ({"path": "7", "width": 12}, "other")


def test_enqueue_a_task_that_is_known_by_name(page: TestClient, stocked: Longboat) -> None:
    data = {"task": "elsewhere.run", "args": "[1, 2]", "priority": "3", "delay": "1h"}
    answer = page.post("/do/enqueue", data=data)
    view = stocked.broker.inspector.find([answer.headers["location"].removeprefix("/jobs/")])[0]
    assert view is not None
    assert (codec.decode(view.payload), view.priority, view.state) == ({"*": [1, 2]}, 3, State.SCHEDULED)
    assert "no worker has told of this task" in page.get("/jobs").text


def test_enqueue_a_task_by_what_a_worker_has_told(bare: Longboat) -> None:
    with Longboat("memory://") as elsewhere:

        @elsewhere.task(name="mail.send", queue="mail", priority=5, limit=Limit(key="{to}", running=2))
        def send(to: str, copies: int = 1) -> None:
            """Send a mail."""

        TaskRecordWriter(bare.broker.kv, elsewhere.registry).run(time.time())
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as page:
        text = page.get("/tasks/mail.send").text
        for part in ("Send a mail.", 'name="arg.to"', "int, default 1", 'placeholder="mail"', 'placeholder="5"'):
            assert part in text, part
        page.post("/do/enqueue", data={"task": "mail.send", "arg.to": "a@b.c"})
        (view,) = bare.broker.inspector.jobs(State.READY).jobs
        assert (view.queue, view.priority, codec.decode(view.payload)["to"]) == ("mail", 5, "a@b.c")
        assert [limit.key for limit in view.constraints.limits] == ["mail.send:a@b.c"]  # type: ignore[union-attr]  # it is there
        assert "no worker has told" not in page.get("/jobs").text
    dashboard.close()


def test_pause_resume_and_purge(page: TestClient, stocked: Longboat) -> None:
    page.post("/do/pause", data={"kind": "task", "name": "shop.resize"})
    page.post("/do/resume", data={"kind": "queue", "name": "reports"})
    assert {kind: names for kind, names in paused(stocked.broker.kv).items() if names} == {"task": {"shop.resize"}}
    question = page.get("/do/purge", params=[("queue", "default"), ("state", "dead"), ("state", "scheduled")]).text
    assert "Delete 5 jobs in queue default (scheduled, dead) for good?" in question
    page.post("/do/purge", data={"queue": "default", "state": ["dead", "scheduled"]})
    counts = stocked.broker.inspector.counts()
    assert ("default", State.DEAD) not in counts
    assert ("default", State.SUCCEEDED) in counts


def test_flows(page: TestClient, stocked: Longboat) -> None:
    failed = newest(stocked.broker.kv, 1)[0][0]
    text = page.get(f"/flows/{failed}").text
    assert text.count('class="box ') == 4
    assert text.count('class="edge"') == 3
    page.post("/do/flow-retry", data={"id": failed})
    assert "Cancel the 2 jobs of this flow" in page.get("/do/flow-cancel", params={"id": failed}).text
    page.post("/do/flow-cancel", data={"id": failed})
    assert stocked.flow(failed).status().jobs[State.CANCELLED] == 2


def test_schedules(page: TestClient, stocked: Longboat) -> None:
    text = page.get("/schedules").text
    assert "Every fifth minute" in text
    assert "no living worker has it in its code" in text
    assert 'class="due"' not in text
    by_hand = Schedule(name="by hand", rule="every 1h", task="shop.resize", payload=b"\x80")
    assert scheduler.add(stocked.broker, by_hand)
    text = page.get("/schedules").text
    assert "no living worker knows task shop.resize" in text
    assert text.count('class="due"') == 5
    page.post("/do/schedule-remove", data={"name": "by hand"})
    page.post("/do/schedule-pause", data={"name": "shop.nightly"})
    assert [each.schedule.paused for each in scheduler.listed(stocked.broker, 0.0) if each.schedule] == [True]
    page.post("/do/schedule-resume", data={"name": "shop.nightly"})
    answer = page.post("/api/v1/do/schedule-run", json={"name": "shop.nightly"})
    assert stocked.broker.inspector.find([answer.json()["id"]])[0].task == "shop.report"  # type: ignore[union-attr]  # it is there
    page.post("/do/schedule-remove", data={"name": "shop.nightly"})
    assert scheduler.listed(stocked.broker, 0.0) == []
    assert page.post("/do/schedule-run", data={"name": "shop.nightly"}).status_code == 404


def test_a_group_of_failures_is_retried_as_one(page: TestClient, stocked: Longboat) -> None:
    (group,) = page.get("/api/v1/failures").json()
    assert (group["type"], group["count"]) == ("ValueError", 4)
    q = f"task:shop.resize failure:{group['fingerprint']}"
    assert page.get("/api/v1/bulk", params={"verb": "retry", "q": q}).json() == {"count": 4, "exact": True, "looked": 0}
    run = page.post("/do/bulk", data={"verb": "retry", "q": q}).headers["location"]
    until(lambda: "finished" in page.get(run).text)
    assert page.get(f"/api/v1{run}").json()["done"] == 4
    assert stocked.broker.inspector.counts()["default", State.READY] == 4


def test_a_dry_run_looks_at_all_jobs_or_says_how_far(
    page: TestClient, stocked: Longboat, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longboat.dashboard import bulk
    from longboat.operate import search

    stocked.broker.put([Job(1, f"many-{n}", "shop.resize", codec.encode({"n": n}), "many") for n in range(200)])
    monkeypatch.setattr(bulk, "DRY_RUN", 20)
    monkeypatch.setattr(search, "SEARCHED", 20)
    asked = {"verb": "cancel", "q": "state:ready queue:many args.n:199"}
    seen = page.get("/api/v1/bulk", params=asked).json()
    assert (seen["count"], seen["exact"]) == (0, False)
    assert 20 <= seen["looked"] < 200
    preview = page.get("/bulk", params=asked).text
    assert f"About {seen['looked']} jobs were looked at, and there are more" in preview
    assert "Count them all" in preview
    run = page.post("/api/v1/do/bulk", json={**asked, "dry": 1}).json()["id"]
    until(lambda: page.get(f"/api/v1/bulk/{run}").json()["state"] == "finished")
    assert "<b>1</b> job found; all jobs were looked at" in (told := page.get(f"/bulk/{run}").text)
    assert "Go on to cancel them" in told
    assert stocked.broker.inspector.find(["many-199"])[0].state is State.READY  # type: ignore[union-attr]  # it is there


def test_jobs_of_one_customer_are_paused_and_resumed(page: TestClient, stocked: Longboat) -> None:
    asked = {"kind": "search", "name": "args.to:a@b.c", "reason": "they asked for it", "next": "/pauses"}
    page.post("/do/pause", data=asked)
    assert "args.to:a@b.c" in page.get("/pauses").text
    assert page.get("/api/v1/pauses").json() == {"queue": ["reports"], "task": [], "limit": [], "search": ["args.to:a@b.c"]}
    assert "they asked for it" in page.get("/audit", params={"q": "args.to:a@b.c"}).text
    page.post("/do/resume", data=asked)
    assert paused(stocked.broker.kv)["search"] == set()
    for wrong in ({"kind": "search", "name": "state:dead"}, {"kind": "planet", "name": "x"}):
        assert page.post("/do/pause", data=wrong).status_code == 400


def test_a_bulk_retry_is_spread_over_a_time(page: TestClient, stocked: Longboat) -> None:
    asked = {"verb": "retry", "q": "state:dead", "spread": "10m"}
    assert "Retry 4 jobs over 10m" in page.get("/bulk", params=asked).text
    run = page.post("/do/bulk", data={**asked, "reason": "the relay is back"}).headers["location"]
    until(lambda: "finished" in page.get(run).text)
    assert "They come back over 10 m" in page.get(run).text
    (act,) = audit.newest(stocked.broker.kv, 1)
    assert (act.verb, act.reason) == ("retry", "the relay is back")
    assert "over 10 m: finished, 4 of 4 retried" in act.what
    assert page.post("/do/bulk", data={**asked, "spread": "soon"}).status_code == 400


def test_bulk_actions_keep_to_what_is_meant(page: TestClient, stocked: Longboat) -> None:
    assert page.get("/api/v1/bulk", params={"verb": "cancel", "q": "queue:default"}).json()["count"] == 2
    assert (
        "does not apply to jobs that are succeeded"
        in page.get("/bulk", params={"verb": "retry", "q": "state:succeeded"}).text
    )
    run = page.post("/api/v1/do/bulk", json={"verb": "discard", "q": "queue:default state:dead"}).json()["id"]
    until(lambda: page.get(f"/api/v1/bulk/{run}").json()["state"] == "finished")
    found = page.get(f"/api/v1/bulk/{run}").json()
    left = stocked.broker.inspector.jobs(State.DEAD).jobs
    assert (found["total"], found["done"], len(left)) == (4, 3, 1)
    assert left[0].constraints is not None, "one that is part of a flow stays"


def test_what_is_found_moves_into_another_queue(page: TestClient, stocked: Longboat) -> None:
    stocked.broker.put([Job(1, f"many{n}", "t", b"\x80", "many") for n in range(3)])
    asked = {"verb": "move", "q": "queue:many"}
    assert "to queue quiet" in page.get("/bulk", params={**asked, "to": "quiet"}).text
    for wrong in ("", "a,b"):
        assert "to queue:" in page.get("/bulk", params={**asked, "to": wrong}).text
        assert page.post("/do/bulk", data={**asked, "to": wrong}).status_code == 400
    run = page.post("/do/bulk", data={**asked, "to": "quiet"}).headers["location"]
    until(lambda: "finished" in page.get(run).text)
    assert page.get(f"/api/v1{run}").json()["to"] == "quiet"
    assert stocked.broker.inspector.counts()["quiet", State.READY] == 3


def test_a_bulk_action_can_be_stopped(page: TestClient, stocked: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    import longboat.operate.bulk
    from longboat.dashboard import bulk

    stocked.broker.put([Job(1, f"many{n}", "t", b"\x80", "many") for n in range(20)])
    monkeypatch.setattr(longboat.operate.bulk, "BATCH", 1)
    real = stocked.broker.inspector.cancel
    first: list[str] = []

    def slowly(ids: list[str]) -> list[str]:
        first.extend(ids)
        until(lambda: bool(stocked.broker.kv.entries(bulk.STOPS)))
        return real(ids)

    monkeypatch.setattr(type(stocked.broker.inspector), "cancel", lambda _, ids: slowly(ids))
    run = page.post("/api/v1/do/bulk", json={"verb": "cancel", "q": "queue:many"}).json()["id"]
    until(lambda: bool(first))
    page.post("/do/bulk-stop", data={"id": run})
    until(lambda: page.get(f"/api/v1/bulk/{run}").json()["state"] == "stopped")
    assert stocked.broker.inspector.counts()["many", State.READY] == 19


def test_the_api_is_what_its_document_says(page: TestClient) -> None:
    document = page.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    done = {path.removeprefix("/do/") for path in document["paths"] if path.startswith("/do/")}
    assert done == VERBS.keys()
    reads = [path for path, each in document["paths"].items() if "get" in each and "{" not in path]
    for path in reads:
        answer = page.get(f"/api/v1{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), path
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)


def test_pages_of_the_api_are_the_whole_list(bare: Longboat) -> None:
    bare.broker.put([Job(1, f"j{n:03}", "t", b"\x80", f"q{n % 3}") for n in range(120)])
    dashboard = longboat_dashboard(bare, local_role="admin")
    with asking(dashboard) as client:
        ids: list[str] = []
        after = None
        while True:
            found = client.get("/api/v1/jobs", params={"limit": 25, **({"after": after} if after else {})}).json()
            ids += [job["id"] for job in found["jobs"]]
            after = found["after"]
            if after is None:
                break
        assert client.get("/api/v1/scaling?queues=q1,q2").json() == {
            "ready": 80,
            "running": 0,
            "jobs": 80,
            "workers": 0,
            "slots": 0,
            "wanted": 1,
        }
    dashboard.close()
    assert sorted(ids) == [f"j{n:03}" for n in range(120)]


@pytest.mark.usefixtures("brisk")
def test_a_worker_is_made_quiet_resumed_and_stopped(page: TestClient, stocked: Longboat) -> None:
    kv = stocked.broker.kv
    with stocked.worker(threads=1) as worker:
        until(lambda: any(record["state"] == "working" for record in page.get("/api/v1/workers").json()))
        text = page.get("/workers").text
        assert "/do/worker-quiet" in text
        assert f"/do/worker-stop?name={quote_plus(worker.name)}" in text
        page.post("/do/worker-quiet", data={"name": worker.name, "next": "/workers"})
        until(lambda: "/do/worker-resume" in page.get("/workers").text)
        assert '<span class="tag warn">quiet</span>' in page.get("/workers").text
        page.post("/do/worker-resume", data={"name": worker.name})
        until(lambda: page.get("/api/v1/workers").json()[0]["state"] == "working")
        question = page.get("/do/worker-stop", params={"name": worker.name})
        assert f"Stop worker {worker.name}? It is idle." in question.text
        page.post("/do/worker-stop", data={"name": worker.name})
        until(lambda: page.get("/api/v1/workers").json() == [])
        assert worker.reason == "commanded"
    assert page.post("/do/worker-quiet", data={"name": worker.name}).status_code == 404
    assert [(entry.verb, entry.what) for entry in audit.newest(kv, 3)] == [
        ("worker-stop", f"worker {worker.name} is stopping"),
        ("worker-resume", f"worker {worker.name} takes jobs again"),
        ("worker-quiet", f"worker {worker.name} takes no more jobs"),
    ]


def test_an_edited_job_heeds_the_rules_of_its_new_arguments(bare: Longboat) -> None:
    @bare.task(
        name="bill", limit=Limit(key="{order.shop}", running=1), fair_by="{order.shop}", unique=Unique(), keep_result=60
    )
    def bill(order: Order, token: bytes) -> None:
        raise ValueError(order, token)

    @bare.task(name="ping", unique=Unique())
    def ping(n: int) -> None: ...

    sent = bill.enqueue(Order("a"), b"\x00x")
    run_one(bare.broker, "default")
    with asking(longboat_dashboard(bare, local_role="admin")) as client:
        shown = client.get(f"/api/v1/jobs/{sent.id}").json()["args"]
        assert shown == {"order": {"shop": "a"}, "token": MASK}
        edited = {"id": sent.id, "args": json.dumps({"order": {"shop": "b"}, "token": "b'\\x00y'"})}
        assert client.post("/do/edit", data=edited).headers["location"].startswith("/jobs/")
        (made,) = bare.broker.inspector.jobs(State.READY).jobs
        assert made.constraints == Constraints(
            limits=[JobLimit("bill:b", running=1, name="bill::{order.shop}")], fairness_key="b"
        )
        assert codec.decode(made.payload) == {"order": {"shop": "b"}, "token": b"\x00y"}
        again = client.post("/do/edit", data=edited)
        assert (again.status_code, made.id in again.text) == (409, True)
        form = {"task": "ping", "args": "[1]"}
        assert client.post("/do/enqueue", data=form).status_code == 303
        assert client.post("/do/enqueue", data=form).status_code == 409
    assert bill.enqueue(Order("b"), b"\x00y").id == made.id
