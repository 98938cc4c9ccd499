"""Every screen, every page of the API and every action, on every broker that is a server; what one cannot do, it says."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from longboat import Longboat, group
from longboat.brokers.rabbitmq.link import Link
from longboat.core.job import State
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.screens import SCREENS
from longboat.dashboard.verbs import VERBS
from longboat.observe.deploys import mark
from longboat.operate import audit
from tests.rigs.broker import URLS
from tests.rigs.dashboard import asking, shop, until
from tests.rigs.harnesses import unavailable

pytestmark = pytest.mark.slow

LATE = 10.0
"""Seconds until what workers write is surely to be seen."""

ABLE = [name for name in URLS if name != "rabbitmq"]
SERVED = ["mail", "default", "held"]
PURGED = {"queue": "reports", "state": ["ready", "cancelled"]}


@pytest.fixture
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Longboat]:
    if why := unavailable(request.param):
        pytest.skip(why)
    made: Any = URLS[request.param]
    with made(tmp_path) as url, shop(url) as app:
        yield app


class Stock:
    """Jobs of all states, a flow that is stuck, a schedule, a failure group, and a worker at work."""

    def __init__(self, app: Longboat, limit: threading.Event) -> None:
        @app.task(name="shop.hold", queue="held")
        def hold() -> None:
            limit.wait(60)

        resize: Any = app.registry.tasks["shop.resize"]
        self.done = app.named("shop.send_mail").enqueue(to="done@example.com", api_token="hunter2").id
        self.running = hold.enqueue().id
        self.dead = resize.enqueue(path="img.png", width=-1).id
        self.later = resize.using(delay="1h").enqueue(path="later.png", width=1).id
        self.ready = app.named("shop.report").using(queue="reports").enqueue(["today"]).id
        cancelled = app.named("shop.report").using(queue="reports").enqueue(["never"])
        cancelled.cancel()
        self.failure = ""
        """The fingerprint of the group that the dead are of."""
        self.worker = ""
        """The name of the one that runs a job."""
        total: Any = app.registry.tasks["shop.total"]
        self.flow = group(*[resize.s(path=f"{n}.png", width=n - 1) for n in range(2)]).then(total).enqueue().id

    def settled(self, page: TestClient) -> bool:
        """Whether all of it can be seen: the history of what ended is written once a second."""
        states = {job["id"]: job["state"] for job in page.get("/api/v1/jobs", params={"limit": 500}).json()["jobs"]}
        records, groups = page.get("/api/v1/workers").json(), page.get("/api/v1/failures").json()
        self.failure = groups[0]["fingerprint"] if groups else ""
        self.worker = records[0]["name"] if records else ""
        return (
            (states.get(self.done), states.get(self.dead)) == ("succeeded", "dead")
            and [each["count"] for each in groups] == [2]
            and [run[1] for record in records for run in record["running"]] == ["shop.hold"]
            and bool(page.get("/api/v1/schedules").json())
        )

    def screens(self) -> dict[str, list[str]]:
        """Path -> words that stand there."""
        return {
            "/": ["mail", "reports", "ValueError", "1 worker", '"succeeded"'],
            "/queues": ["mail", "reports", "no worker"],
            "/queues/mail": ["shop.send_mail", "serves it; "],
            "/attention": ["queue reports has 1 ready job and no living worker"],
            "/calendar": [self.later, "schedule shop.nightly, Every fifth minute"],
            "/jobs": [self.ready, self.later, self.done, "is not a width"],
            "/jobs?q=state:dead": ["is not a width"],
            "/jobs?q=state:running": ["shop.hold"],
            "/jobs?q=args.path:later.png": [self.later],
            "/jobs.csv": ["shop.hold"],
            f"/jobs/{self.done}": ["sent hello to done@example.com", "••••••"],
            f"/jobs/{self.dead}": ["ValueError", "Traceback", "is not a width"],
            f"/jobs/{self.running}": ["running"],
            f"/jobs/{self.later}": ["later.png", "scheduled"],
            "/failures": ["ValueError"],
            f"/failures/{self.failure}": ["Traceback", "Retry all 2 dead"],
            "/bulk": ["Preview"],
            "/bulk?verb=retry&q=task:shop.resize": ["Retry 2 jobs"],
            "/flows": ["shop.total"],
            f"/flows/{self.flow}": ['class="edge"'],
            "/limits": ["No job that runs, waits or is ready has a limit"],
            "/workers": ["shop.hold", "Quiet"],
            f"/workers/{self.worker}": ["shop.hold", "Longboat", ", in hold"],
            "/schedules": ["Every fifth minute", 'class="due"'],
            "/tasks": ["shop.resize"],
            "/tasks/shop.resize": ['name="arg.width"', "ValueError"],
            "/system": ["App&#39;s code", "loaded"],
            "/audit": ["from Python"],
            "/pauses": ["Nothing is paused"],
            "/api/v1/pauses": ['"queue":[]'],
            "/api/v1/audit": ["1 job cancelled"],
            "/api": ["/api/v1"],
            "/do/purge?queue=reports&state=ready": ["Delete 1 job in queue reports"],
            "/api/v1/openapi.json": ["openapi"],
            "/api/v1/jobs?q=state:dead": [self.dead],
            f"/api/v1/jobs/{self.done}": ["sent hello"],
            "/api/v1/queues": ["reports"],
            "/api/v1/queues/reports": ['"why":"no living worker serves queue reports; 1 ready, 0 held'],
            "/api/v1/attention": ['"kind":"no worker"', '"unknown":[]'],
            "/api/v1/calendar": [self.later, "shop.nightly", '"unknown":[]'],
            "/api/v1/workers": ["shop.hold"],
            f"/api/v1/workers/{self.worker}": ["shop.hold", ", in hold", '"cpu":'],
            "/api/v1/deploys": ["v1.2"],
            "/api/v1/failures": ["ValueError"],
            "/api/v1/schedules": ["shop.nightly"],
            "/api/v1/flows": [self.flow],
            "/api/v1/history": ["succeeded"],
            "/api/v1/scaling?queues=reports": ['"ready":1'],
            "/api/v1/bulk?verb=retry": ['"count":2'],
            "/metrics": ["longboat_queue_depth"],
        }

    def actions(self, page: TestClient) -> list[tuple[str, dict[str, Any], str]]:
        """(verb, fields, words of what came of it), in an order in which each has something to do."""
        worker = page.get("/api/v1/workers").json()[0]["name"]
        nightly, named, queue = {"name": "shop.nightly"}, {"name": worker}, {"kind": "queue", "name": "reports"}
        return [
            ("pause", queue, "queue reports paused"),
            ("resume", queue, "queue reports resumed"),
            ("enqueue", {"task": "shop.report", "args": '{"days": []}', "queue": "reports"}, "enqueued"),
            ("cancel", {"id": self.later}, "1 job cancelled"),
            (
                "edit",
                {"id": self.later, "args": '{"path": "edited.png", "width": 2}'},
                "with other arguments",
            ),
            ("discard", {"id": self.ready}, "1 job deleted"),
            ("retry", {"id": self.dead}, "1 job retried"),
            ("flow-retry", {"id": self.flow}, "retried: the flow continues"),
            ("flow-cancel", {"id": self.flow}, "of the flow cancelled"),
            ("bulk", {"verb": "cancel", "q": "queue:reports"}, "started"),
            ("purge", PURGED, "in queue reports deleted"),
            ("schedule-pause", nightly, "paused"),
            ("schedule-resume", nightly, "resumed"),
            ("schedule-run", nightly, "enqueued"),
            ("schedule-remove", nightly, "removed"),
            ("worker-quiet", named, "takes no more jobs"),
            ("worker-resume", named, "takes jobs again"),
            ("worker-stop", named, "is stopping"),
        ]


@pytest.mark.parametrize("app", ABLE, indirect=True)
def test_every_screen_and_every_action(app: Longboat) -> None:
    limit = threading.Event()
    stock = Stock(app, limit)
    mark(app.broker.kv, "v1.2", "ann@web-1")
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as page, app.worker(threads=2, queues=SERVED) as worker:
        try:
            until(lambda: stock.settled(page))
            screens = stock.screens()
            act(page, [("worker-stacks", {"name": stock.worker}, "is asked where its jobs are")])
            look(page, screens)
            bulk = act(page, stock.actions(page))
            until(lambda: page.get(f"/api/v1/bulk/{bulk}").json()["state"] == "finished")
            act(page, [("bulk-stop", {"id": bulk}, "told to stop")])
            after = {f"/bulk/{bulk}": ["finished"], "/audit": ["bulk-stop"], f"/api/v1/bulk/{bulk}": ["finished"]}
            look(page, after)
            assert not_looked_at({*screens, *after}) == []
            assert {act.verb for act in audit.newest(app.broker.kv)} == {*VERBS} - {"bulk"}, "a bulk action by its own verb"
            until(lambda: worker.finished.is_set())
        finally:
            limit.set()
    dashboard.close()


def not_looked_at(paths: set[str]) -> list[str]:
    """The routes that none of these is of."""
    bare = [path.partition("?")[0] for path in paths]
    routes = [path for method, path, _ in SCREENS if method == "GET"]
    return [each for each in routes if not any(re.fullmatch(re.sub(r"{.*}", "[^/]+", each), path) for path in bare)]


def look(page: TestClient, screens: dict[str, list[str]]) -> None:
    for path, words in screens.items():
        answer = page.get(path)
        due = time.monotonic() + LATE
        while not all(word in answer.text for word in words) and time.monotonic() < due:  # workers write now and then
            time.sleep(0.2)
            answer = page.get(path)
        assert answer.status_code == 200, (path, answer.text[-500:])
        for word in words:
            assert word in answer.text, (path, word)


def act(page: TestClient, actions: list[tuple[str, dict[str, Any], str]]) -> str:
    """Do them; the id of the bulk action among them."""
    bulk = ""
    for verb, fields, words in actions:
        answer = page.post(f"/api/v1/do/{verb}", json=fields)
        assert answer.status_code == 200, (verb, answer.text)
        assert words in answer.json()["message"], (verb, answer.text)
        assert not answer.json()["message"].startswith("0 jobs"), (verb, answer.text)
        bulk = answer.json()["id"] if verb == "bulk" else bulk
    return bulk


@pytest.mark.parametrize("app", ["rabbitmq"], indirect=True)
def test_what_a_broker_of_messages_alone_cannot_do_is_said(app: Longboat) -> None:
    app.named("shop.report").using(queue="reports").enqueue(["today"])
    app.named("shop.resize").enqueue(path="img.png", width=-1)
    dashboard = longboat_dashboard(app, local_role="admin")
    with asking(dashboard) as page:
        with app.worker(threads=1, queues=["default"]):
            until(lambda: app.broker.inspector.counts().get(("default", State.DEAD)) == 1)
        page.get("/")
        for path in ("/", "/queues", "/queues/reports", "/failures", "/flows", "/workers", "/schedules", "/tasks", "/bulk"):
            answer = page.get(path)
            assert answer.status_code == 200, (path, answer.text)
        assert "Whether a job is held is not known: RabbitMQ cannot " in page.get("/attention").text
        assert "Which jobs are scheduled is not known: RabbitMQ cannot " in page.get("/calendar").text
        assert "limits or other jobs hold any is not known" in page.get("/queues/reports").text
        assert "is not a width" in page.get("/failures").text
        assert "is not a width" in page.get("/jobs?q=state:dead").text
        assert "To queue" not in page.get("/bulk").text
        assert "name a queue, a task or both" in page.get("/bulk?verb=cancel&q=").text
        assert (
            "Cancel all jobs of queue reports that were enqueued before now"
            in page.get("/bulk?verb=cancel&q=queue:reports").text
        )
        assert page.get("/api/v1/bulk?verb=cancel&q=queue:reports").json() == {"count": None, "exact": False, "looked": 0}
        answer = page.post("/do/bulk", data={"verb": "cancel", "q": "task:never", "next": "/bulk"}, follow_redirects=True)
        assert "all jobs of task never that were enqueued before now are cancelled" in answer.text
        a_flow(app, page)
        assert page.get("/api/v1/queues").status_code == 200
        answer = page.get("/api/v1/jobs/some")
        assert answer.status_code == 404
        assert "no worker told of it since" in answer.json()["error"]
        assert "?results=" in answer.json()["advice"]
        told_jobs(app, page)
        said(page.post("/api/v1/do/discard", json={"id": ["some"]}), "RabbitMQ cannot ")
        assert audit.newest(app.broker.kv)[0].what.startswith("not done: ")
        one_job(app, page)
    dashboard.close()


@pytest.mark.parametrize("app", ["rabbitmq"], indirect=True)
def test_open_pages_share_their_looks_at_dead_jobs(app: Longboat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes dead messages out and publishes them anew. What the dashboard does itself is seen at once."""
    published: list[str] = []
    publish = Link.publish

    def counting(link: Link, publishes: Any) -> None:
        published.extend(each.key for each in publishes if each.key.endswith(".dead"))
        publish(link, publishes)

    for _ in range(3):
        app.named("shop.resize").enqueue(path="img.png", width=-1)
    with app.worker(threads=1, queues=["default"]):
        until(lambda: app.broker.inspector.counts().get(("default", State.DEAD)) == 3)
    dashboard = longboat_dashboard(app, local_role="admin")
    monkeypatch.setattr(Link, "publish", counting)
    with asking(dashboard) as page:
        first = page.get("/jobs?q=state:dead").text
        jobs = set(re.findall(r"/jobs/([0-9a-f]{16}-[0-9a-f]{16})", first))
        assert len(jobs) == len(published) == 3
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            for path in ("/jobs?q=state:dead", "/jobs?q=state:dead+task:shop.resize", f"/jobs/{min(jobs)}"):
                assert "is not a width" in page.get(path).text
            assert len(page.get("/api/v1/jobs?q=state:dead").json()["jobs"]) == 3
            time.sleep(0.3)
        assert len(published) == 3
        page.post("/do/retry", data={"id": min(jobs), "next": "/jobs"})
        assert min(jobs) not in page.get("/jobs?q=state:dead").text
    dashboard.close()


def told_jobs(app: Longboat, page: TestClient) -> None:
    """What workers and callers tell while the dashboard listens is listed, and can be looked at."""
    until(lambda: "what workers told of others since" in page.get("/jobs").text, 10)
    app.registry.tasks["shop.resize"].enqueue(path="img.png", width=1).cancel()
    later = app.named("shop.resize").using(delay="1h").enqueue(path="later.png", width=2).id
    with app.worker(threads=1, queues=["default"]):
        done = app.named("shop.resize").enqueue(path="img.png", width=3).id
        until(lambda: page.get(f"/api/v1/jobs/{done}").status_code == 200, 10)
        until(lambda: page.get(f"/api/v1/jobs/{done}").json()["state"] == "succeeded", 10)
        until(lambda: "cancelled" in {each["state"] for each in page.get("/api/v1/jobs").json()["jobs"]}, 20)
    said = page.get(f"/api/v1/jobs/{done}").json()
    assert (said["task"], said["queue"], said["attempts"]) == ("shop.resize", "default", 1)
    assert (said["args"], said["priority"], said["why"]) == (None, None, "")
    listed = {each["id"]: each["state"] for each in page.get("/api/v1/jobs").json()["jobs"]}
    assert listed[done] == "succeeded"
    assert listed[later] == "scheduled"
    assert "dead" in listed.values()
    assert done in page.get("/jobs.csv").text
    assert done in page.get(f"/jobs?q=id:{done}").text
    text = page.get(f"/jobs/{done}").text
    assert "Arguments and result are not known" in text
    assert buttons(text) == set()


def a_flow(app: Longboat, page: TestClient) -> None:
    """Nobody knows yet what became of its jobs; none is told as none."""
    tasks: Any = app.registry.tasks
    flow = tasks["shop.resize"].s(path="img.png", width=1).then(tasks["shop.total"]).enqueue()
    assert "0 / 2" in page.get("/flows").text
    assert "ended more than two days ago" in page.get("/flows").text
    assert page.get("/api/v1/flows").json()[0]["unknown"] == 2
    text = page.get(f"/flows/{flow.id}").text
    assert "Which job comes after which is not known." in text
    assert (
        "Cancel the 2 jobs of this flow that are not known to have ended" in page.get(f"/do/flow-cancel?id={flow.id}").text
    )
    answer = page.post("/do/flow-cancel", data={"id": flow.id, "next": f"/flows/{flow.id}"}, follow_redirects=True)
    assert "2 jobs of the flow cancelled" in answer.text


def one_job(app: Longboat, page: TestClient) -> None:
    """One that waits can be cancelled, and one that is dead can be retried; what cannot be done is not offered."""
    waiting = app.named("shop.report").using(queue="reports").enqueue(["today"]).id
    text = page.get(f"/jobs/{waiting}").text
    assert "whether it is queued, is delayed or has ended is not known: RabbitMQ cannot look up a job by its id" in text
    assert "?results=" in text
    assert buttons(text) == {"cancel"}
    answer = page.post("/do/cancel", data={"id": waiting, "next": f"/jobs/{waiting}"}, follow_redirects=True)
    assert "1 job cancelled, unless it has ended" in answer.text
    assert "the first worker to come to it ends it" in answer.text
    assert buttons(answer.text) == set()
    (dead,) = app.broker.inspector.jobs(State.DEAD).jobs
    text = page.get(f"/jobs/{dead.id}").text
    assert "is not a width" in text
    assert buttons(text) == {"retry"}
    assert buttons(page.get("/jobs?q=state:dead").text) == {"retry"}
    assert re.findall(r'name="state" value="(\w+)"', page.get("/queues/reports").text) == ["ready", "dead"]
    assert re.findall(r"<option>(\w+)", page.get("/bulk").text.partition("</select>")[0]) == ["retry", "cancel"]
    answer = page.post("/do/retry", data={"id": dead.id, "next": "/jobs"}, follow_redirects=True)
    assert "1 job retried" in answer.text


def buttons(text: str) -> set[str]:
    """The verbs that a page offers."""
    return set(re.findall(r'(?:action|formaction|href)="[^"]*/do/([a-z-]+)', text))


def said(answer: Any, words: str) -> None:
    assert answer.status_code == 501, answer.text
    assert words in answer.text
