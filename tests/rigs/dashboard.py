"""An app with one job in each state, a flow, failures, a schedule and a pause, and ways to ask its dashboard."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from longboat import Longboat, current, group
from longboat.contract.broker import Broker, Settlement
from longboat.core import codec
from longboat.core.job import Dead, Done, Failure, State
from longboat.dashboard import longboat_dashboard
from longboat.dashboard.mounted import Dashboard
from longboat.operate.pauses import pause

HERE = "http://127.0.0.1:5555"
TOKEN = "a-token-that-nobody-guesses-7"

SCREENS = [
    "/",
    "/attention",
    "/queues",
    "/queues/mail",
    "/jobs",
    "/jobs?q=state:dead",
    "/failures",
    "/bulk",
    "/bulk?verb=retry&q=task:shop.resize",
    "/flows",
    "/limits",
    "/workers",
    "/schedules",
    "/calendar",
    "/tasks",
    "/tasks/shop.resize",
    "/audit",
    "/pauses",
    "/system",
    "/api",
    "/do/purge?queue=mail&state=dead",
]


def shop(url: str) -> Longboat:
    """An app with tasks that succeed, fail, wait and tell how far they are."""
    app = Longboat(url)

    @app.task(name="shop.send_mail", queue="mail")
    async def send_mail(to: str, subject: str = "hello", api_token: str = "") -> str:
        """Send one mail."""
        return f"sent {subject} to {to} {bool(api_token)}"

    @app.task(name="shop.resize")
    def resize(path: str, width: int) -> list[int]:
        if width < 0:
            raise ValueError(f"width {width} is not a width, for {path!r}")
        logging.getLogger("shop").warning("resizing %s", path)
        current().progress(1, 2, "half of it")
        return [width]

    @app.task(name="shop.total")
    def total(parts: list[list[int]]) -> int:
        return sum(map(sum, parts))

    @app.schedule("*/5 * * * *", name="shop.nightly", args=([],), tz="Europe/Berlin")
    @app.task(name="shop.report", queue="reports")
    def report(days: list[str]) -> None:
        del days

    return app


def stock(app: Longboat) -> None:
    """Give it something to show: the worker has run and gone when this returns."""
    mail, resize = app.named("shop.send_mail"), app.named("shop.resize")
    total: Any = app.named("shop.total")
    with app.worker(threads=2):
        fine = [mail.enqueue(to=f"someone{n}@example.com", api_token="hunter2") for n in range(5)]
        for number in range(3):
            resize.enqueue(path=f"img{number}.png", width=-1 - number)
        group(*[resize.s(path=f"part{n}.png", width=10 * n) for n in range(3)]).then(total).enqueue()
        group(*[resize.s(path=f"bad{n}.png", width=n - 1) for n in range(3)]).then(total).enqueue()
        for handle in fine:  # by looking: playwright's event loop may run in this thread
            until(lambda handle=handle: handle.status().ended)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        until(lambda: app.broker.inspector.counts().get(("default", State.DEAD)) == 4)
        until(lambda: app.broker.inspector.counts().get(("default", State.SUCCEEDED)) == 6)
    resize.using(delay="1h").enqueue(path="later.png", width=1)
    mail.enqueue(to="next@example.com")
    app.named("shop.report").using(queue="reports").enqueue(["today"])
    cancelled = mail.enqueue(to="never@example.com")
    cancelled.cancel()
    pause(app.broker.kv, "queue", "reports", True)


def until(true: Callable[[], bool], limit: float = 20.0) -> None:
    """Wait until it is so."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.02)


def run_one(broker: Broker, queue: str) -> None:
    """Take one job of the queue and let it succeed."""
    consumer = broker.consumer([queue], lease=10)
    try:
        (lease,) = consumer.receive(1, wait=5)
        consumer.settle([Settlement(lease, Done(b"\xc0"))])
    finally:
        consumer.close()


def settle(broker: Broker, queue: str, outcome: Failure | str) -> None:
    """Take the queue's job; let it succeed with this, or die of it."""
    consumer = broker.consumer([queue], lease=30)
    try:
        (lease,) = consumer.receive(1, wait=5)
        consumer.settle([Settlement(lease, Done(codec.encode(outcome)) if isinstance(outcome, str) else Dead(outcome))])
    finally:
        consumer.close()


def asking(dashboard: Dashboard, base: str = HERE, peer: str = "127.0.0.1") -> TestClient:
    """A browser on this machine, without scripts and without the headers a browser sends."""
    return TestClient(dashboard, base_url=base, client=(peer, 40000), follow_redirects=False)


def links(text: str) -> set[str]:
    """All links of a page that stay here."""
    return {link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', text)}


@contextmanager
def served(app: Longboat, **options: object) -> Iterator[str]:
    """The dashboard behind a real server, at a free port; gives its address."""
    dashboard = longboat_dashboard(app, **{"local_role": "admin", **options})  # type: ignore[arg-type]  # options of several types
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(dashboard, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            dashboard.close()
