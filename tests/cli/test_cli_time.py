"""The commands about schedules, flows, pauses and why a job waits, as a person uses them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from longboat import Limit, Longboat, Unique
from longboat.client import flows
from longboat.contract.kv import Entry
from longboat.operate import scheduler
from longboat.tasks.schedule import Schedule
from longboat.worker.task_records import TaskRecordWriter
from tests.rigs.cli import Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = project(tmp_path)
    made.run("enqueue", "tasks.add", "1", "2")
    return made


def test_schedules(shell: Shell) -> None:
    assert "no schedules" in shell.run("schedules", "list").out
    added = shell.run("schedules", "add", "tasks.add", "*/5 * * * *", "--name", "sums", "--args", "[1, 2]", "--queue", "q")
    assert added.out.startswith("sums: ")
    again = shell.run("schedules", "add", "tasks.add", "every 5m", "--name", "sums", "--args", "[1, 2]", status=1)
    assert "already" in again.err
    missing = shell.fails("schedules", "add", "tasks.add", "every 5m", "--name", "none", status=2)
    assert "Give them by --args" in missing.err
    wrong = shell.run("schedules", "add", "tasks.add", "whenever", "--args", "[1, 2]", status=3)
    assert "cron expression" in wrong.err
    listed = json.loads(shell.run("schedules", "list", "--json").out)
    assert (listed["name"], listed["queue"], listed["paused"]) == ("sums", "q", False)
    assert (listed["args"]["a"], listed["args"]["b"]) == (1, 2)
    assert listed["problem"] == "no living worker knows task tasks.add"
    assert "no living worker knows task" in shell.run("schedules", "list").out
    assert "paused" in shell.run("schedules", "pause", "sums").out
    assert "paused" in shell.run("schedules", "list").out
    assert "resumed" in shell.run("schedules", "resume", "sums").out
    job_id = shell.run("schedules", "run", "sums").out.strip()
    assert json.loads(shell.run("jobs", "show", job_id, "--json").out)["headers"] == {"schedule": "sums"}
    assert "no schedule 'summs'; did you mean 'sums'?" in shell.run("schedules", "run", "summs", status=1).err
    assert "removed" in shell.run("schedules", "remove", "sums").out
    for verb in ("pause", "run", "remove"):
        assert "no schedule" in shell.run("schedules", verb, "sums", status=1).err
    with Longboat(shell.url) as app:
        mars = Schedule(name="mars", rule="0 0 * * *", tz="Mars/Base", task="tasks.add", payload=b"\x80")
        app.broker.kv.write(scheduler.NAMESPACE, [Entry("broken", b"\xc1"), Entry("mars", msgspec.msgpack.encode(mars))])
    for sign in ("no time zone is named", "cannot be read here"):
        assert sign in shell.run("schedules", "list").out
    assert "cannot be read here" in shell.run("schedules", "run", "broken", status=1).err
    assert "cannot be read here" in shell.run("schedules", "pause", "broken", status=1).err
    assert "removed" in shell.run("schedules", "remove", "broken").out


def test_a_schedule_goes_by_what_workers_have_told(shell: Shell) -> None:
    with Longboat(shell.url) as app:

        @app.task(name="bill", queue="money", limit=Limit(key="{shop}", running=1), unique=Unique())
        def bill(shop: str, n: int = 0) -> None: ...

        TaskRecordWriter(app.broker.kv, app.registry).run(time.time())
        shell.run("schedules", "add", "bill", "every 30s", "--args", '["a"]')
        job = shell.run("schedules", "run", "bill").out.strip()
        assert bill.enqueue("a", 0).id == job
        seen = app.broker.inspector.find([job])[0]
        assert seen is not None
        assert seen.constraints is not None
        assert (seen.queue, [limit.key for limit in seen.constraints.limits]) == ("money", ["bill:a"])


def test_pause_and_explain(shell: Shell) -> None:
    assert "nothing is paused" in shell.run("pause").out
    assert "queue slow: paused" in shell.run("pause", "--queue", "slow", "--task", "tasks.add").out
    assert json.loads(shell.run("pause", "--json").out) == {
        "queues": ["slow"],
        "tasks": ["tasks.add"],
        "limits": [],
        "searches": [],
    }
    shell.run("enqueue", "tasks.sleep", "1", "--id", "mine")
    assert shell.run("explain", "mine").out.startswith("queue slow is paused; no living worker")
    assert "paused" in json.loads(shell.run("explain", "mine", "--json").out)["why"]
    assert "resumed" in shell.run("resume", "--queue", "slow").out
    assert "was not paused" in shell.run("resume", "--queue", "slow").out
    err = shell.run("explain", "nobody", status=1).err
    assert "no job" in err
    assert f"this was {shell.url} (app tasks:app)" in err
    assert "Say which" in shell.run("resume", status=2).err


def test_flows(shell: Shell, tmp_path: Path) -> None:
    assert "no flows" in shell.run("flows", "list").out
    with Longboat(f"sqlite:///{tmp_path}/longboat.db") as app:

        @app.task(name="tasks.add")
        async def add(a: int, b: int) -> int:
            return a + b

        flow = add.s(1, 2).then(add, 3).enqueue()
    listed = json.loads(shell.run("flows", "list", "--json").out)
    assert (listed["id"], listed["jobs"]) == (flow.id, {"ready": 1, "waiting": 1})
    shown = [json.loads(line) for line in shell.run("flows", "show", flow.id, "--json").out.splitlines()]
    assert [each["state"] for each in shown] == ["ready", "waiting"]
    assert shown[1]["constraints"]["after"] == [shown[0]["id"]]
    assert "waiting for tasks.add" in shell.run("explain", shown[1]["id"]).out
    assert "cancelled 2" in shell.run("flows", "cancel", flow.id).out
    assert "2 cancelled" in shell.run("flows", "list").out
    assert "no flow" in shell.run("flows", "show", "nobody", status=1).err


def test_flows_of_which_a_record_cannot_be_read(shell: Shell, tmp_path: Path) -> None:
    with Longboat(f"sqlite:///{tmp_path}/longboat.db") as app:

        @app.task(name="tasks.add")
        async def add(a: int, b: int) -> int:
            return a + b

        planless, memberless, fine = (add.s(1, 2).then(add, 3).enqueue() for _ in range(3))
        kv = app.broker.kv
        kv.write(flows.NAMESPACE, [Entry(planless.id, b"\xc1")])
        key = kv.entries(flows.MEMBERS + memberless.id)[0][0]
        kv.write(flows.MEMBERS + memberless.id, [Entry(key, b"\x91" * 5000)])
    listed = {each["id"]: each for each in map(json.loads, shell.run("flows", "list", "--json").out.splitlines())}
    assert listed[fine.id]["jobs"] == listed[planless.id]["jobs"] == {"ready": 1, "waiting": 1}
    assert (listed[planless.id]["name"], listed[memberless.id]["jobs"]) == (flows.UNREADABLE, {})
    assert shell.run("flows", "list").out.count(flows.UNREADABLE) == 2
    assert "(cannot be read)" in shell.run("flows", "show", memberless.id).out
    assert "waiting" in shell.run("flows", "show", planless.id).out
    assert "cancelled 0" in shell.run("flows", "cancel", memberless.id).out


def test_cancel_by_queue_task_and_flow(shell: Shell) -> None:
    shell.run("enqueue", "tasks.sleep", "1")
    shell.run("enqueue", "tasks.greet", "ann")
    assert "would cancel 1" in shell.run("cancel", "--queue", "slow", "--dry-run").out
    assert "cancelled 1" in shell.run("cancel", "--queue", "slow", "--yes").out
    assert "cancelled 1" in shell.run("cancel", "--task", "tasks.greet", "--yes").out
    assert "no such jobs" in shell.run("cancel", "--task", "tasks.greet", "--yes").out
    assert "Say which" in shell.run("cancel", status=2).err
    assert "Say which" in shell.run("cancel", "id", "--queue", "slow", status=2).err
    assert "no flow" in shell.run("cancel", "--flow", "nobody", "--yes", status=1).err


def test_cancelling_a_flow_leaves_all_other_jobs(shell: Shell, tmp_path: Path) -> None:
    with Longboat(f"sqlite:///{tmp_path}/longboat.db") as app:

        @app.task(name="tasks.add", keep_result=0)
        async def add(a: int, b: int) -> int:
            return a + b

        flow = add.s(1, 2).then(add, 3).enqueue()
    assert shell.run("cancel", "--flow", flow.id, "--yes").out == "cancelled 2 unfinished jobs\n"
    assert shell.run("cancel", "--flow", flow.id, "--yes").out == "no such jobs\n", "none is left, and no others are taken"
    assert json.loads(shell.run("queues", "--json").out)["ready"] == 1
