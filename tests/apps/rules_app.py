"""Tasks with rules, whose jobs are made in running jobs on each executor."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import longboat
from longboat import Limit, Longboat, Unique

app = Longboat()


@app.task(name="report", unique=Unique(by="{user}", until="10m"), queue="later")
def report(user: str) -> None: ...


@app.task(name="find")
def find(shop: str) -> dict[str, str]:
    return {"name": shop}


@app.task(name="bill", limit=Limit(key="{shop.name}", running=1))
def bill(shop: dict[str, str]) -> str:
    return shop["name"]


@app.task(name="bill.process", executor="process", limit=Limit(key="{shop.name}", running=1, name="bill"))
def bill_in_process(shop: dict[str, str]) -> str:
    return shop["name"]


def children() -> list[str]:
    """Each way to make a job inside a job."""
    here = longboat.current()
    return [here.enqueue(report, "ann").id, report.enqueue("ann").id, report.s("ann").enqueue().jobs()[0].id]


thread: Any = app.task(name="thread")(children)
process: Any = app.task(name="process", executor="process")(children)


@app.task(name="coroutine")
async def coroutine() -> list[str]:
    return [*await asyncio.to_thread(children), (await report.aenqueue("ann")).id]


def die() -> None:
    """Be killed after the key was taken and before the job is stored."""
    put: Any = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731  # it takes the place of a method
    setattr(type(app.broker), "put", put)  # noqa: B010  # of whatever broker it is
    report.enqueue("ann")


def told() -> None:
    """Print the ids of the jobs that jobs have made."""
    with app.worker(queues=["default"], processes=1):
        print(*[job_id for each in (thread, process, coroutine) for job_id in each.enqueue().result(30)])


def race() -> None:
    """Make the same calls as others at the same time."""
    app.client  # noqa: B018  # connected before the start
    print("here", flush=True)
    sys.stdin.readline()
    for n in range(40):
        report.enqueue(str(n))


if __name__ == "__main__":
    {"die": die, "told": told, "race": race}[sys.argv[1]]()
