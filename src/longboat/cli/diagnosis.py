"""What `longboat doctor` looks at. It creates nothing and changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from longboat.cli.address import Address, sqlite_path
from longboat.connect import DEFAULT_URL, connect, settled
from longboat.contract.capabilities import Capability, lacking
from longboat.contract.optional import diagnosis
from longboat.core.job import State
from longboat.core.text import counted
from longboat.core.urls import shown
from longboat.core.views import ConsumerView
from longboat.errors import AppNotFound, LongboatError, Unsupported
from longboat.observe import history
from longboat.operate import scheduler

if TYPE_CHECKING:
    from longboat.app import Longboat
    from longboat.contract.broker import Broker

LEAST_ROOM = 100_000_000
"""Free bytes on the disk of the jobs below which something must be done."""
DELIVERED_WITHIN = 60.0
"""Seconds after which a job is not just on its way from the spool or the outbox any more."""
DRIVERS = ("uvloop", "rich", "redis", "hiredis", "psycopg", "pika", "starlette", "opentelemetry")
"""What the extras install, by the name that is imported."""

_SECRET = re.compile("SECRET|PASSWORD|TOKEN|KEY")
"""In the names of variables whose values must not be shown."""


class Problem(NamedTuple):
    """Something that needs attention; a serious problem makes the whole unhealthy."""

    what: str
    advice: str
    serious: bool


class Findings:
    """What was found, in the order in which it was looked for."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        """Plain data, each by its name."""
        self.problems: list[Problem] = []

    @property
    def healthy(self) -> bool:
        return not any(problem.serious for problem in self.problems)

    def warn(self, what: str, advice: str) -> None:
        self.problems.append(Problem(what, advice, serious=False))

    def alarm(self, what: str, advice: str) -> None:
        self.problems.append(Problem(what, advice, serious=True))


def examine(url: str | None) -> Findings:
    """Look at everything, as seen from the working directory with this --url."""
    findings = Findings()
    _installation(findings)
    app = _app(findings)
    found = _address(findings, url, app)
    if app is not None:
        _kept(findings, app)
    if found.url.startswith("memory://"):
        findings.warn(
            "memory:// lives inside one process: its jobs cannot be seen from here, and are gone when it ends",
            "For anything but tests, use a file: sqlite:///longboat.db.",
        )
        return findings
    path = sqlite_path(found.url)
    if path is None or _file(findings, path, found.url):
        _broker(findings, found.url, app)
    return findings


def _installation(findings: Findings) -> None:
    from longboat import __version__

    facts = findings.facts
    facts["longboat"] = __version__
    facts["python"] = {"version": platform.python_version(), "executable": sys.executable}
    facts["platform"] = platform.platform()
    facts["extras"] = {name: find_spec(name) is not None for name in DRIVERS}
    clock = time.get_clock_info("time")
    facts["clock"] = {"implementation": clock.implementation, "resolution": clock.resolution}
    facts["variables"] = {
        name: "***" if _SECRET.search(name) else shown(value) if "://" in value else value
        for name, value in sorted(os.environ.items())
        if name.startswith("LONGBOAT_")
    }


def _app(findings: Findings) -> Longboat | None:
    from longboat.cli import locate

    try:
        named = locate.configured()
        found = locate.look()
    except AppNotFound as error:
        findings.facts["app"] = {"spec": None, "origin": "cannot be imported"}
        what, _, advice = str(error).partition("\n")
        findings.alarm(what, advice)
        return None
    if found is None:
        findings.facts["app"] = {"spec": None, "origin": "none is named, and none is needed to look at jobs"}
        return None
    app, spec = found
    origin = named[1] if named else "found in the working directory"
    findings.facts["app"] = {"spec": spec, "origin": origin}
    findings.facts["tasks"] = [
        {"name": name, "queue": task.template.queue, "executor": task.settings.executor}
        for name, task in sorted(app.registry.tasks.items())
    ]
    return app


def _address(findings: Findings, url: str | None, app: Longboat | None) -> Address:
    if named := url or os.environ.get("LONGBOAT_URL"):
        found = Address(named, "--url" if url else "LONGBOAT_URL")
    else:
        found = Address(app.url, "the app's") if app else Address(DEFAULT_URL, "default")
    findings.facts["url"] = {"url": shown(found.url), "origin": found.origin}
    if app is not None and app.url != settled(found.url):
        findings.warn(
            f"the app uses {shown(app.url)}, but this looks at {shown(found.url)} ({found.origin})",
            "Start workers with the same --url, or set LONGBOAT_URL for all: it wins over the URL in the code.",
        )
    return found


def _kept(findings: Findings, app: Longboat) -> None:
    from longboat.client.kept import summaries

    for each in summaries(app.spool, app.outbox):
        if isinstance(each, str):
            findings.warn(each, "If its tables are missing, the first worker makes them.")
            continue
        findings.facts[each.name] = {**each._asdict(), "said": str(each)}
        if each.oldest > DELIVERED_WITHIN:
            findings.warn(
                f"{each.jobs:,} jobs wait in the {each.name}, the oldest for {each.oldest:,.0f} s",
                "They are delivered once the broker answers and a program of this app, or a worker, runs.",
            )
        if each.refused:
            findings.warn(
                f"{each.refused:,} jobs in the {each.name} were not delivered",
                f"The column `refused` of the table longboat_outbox says why ({each.where}); they stay for a week.",
            )


def _file(findings: Findings, path: Path, url: str) -> bool:
    """Whether there is a file to look into."""
    facts = findings.facts
    folder = path.parent
    if not folder.is_dir():
        findings.alarm(f"there is no directory {folder}", "Create it, or name another file by --url or LONGBOAT_URL.")
        return False
    free = shutil.disk_usage(folder).free
    facts["disk"] = {"free": free}
    if free < LEAST_ROOM:
        findings.alarm(
            f"only {free / 1e6:,.0f} MB are free on the disk of {folder}",
            "Free some space: a full disk stops every enqueue. `longboat purge --state succeeded` deletes ended jobs.",
        )
    facts["synchronous"] = parse_qs(urlsplit(url).query).get("synchronous", ["full"])[0]
    if not path.exists():
        facts["file"] = {"path": str(path), "exists": False}
        if not os.access(folder, os.W_OK):
            findings.alarm(f"{folder} cannot be written to", "Give this user the permission, or name another file.")
        return False
    mode = path.stat().st_mode & 0o777
    facts["file"] = {"path": str(path), "exists": True, "bytes": path.stat().st_size, "mode": f"{mode:04o}"}
    if mode & 0o077:
        findings.warn(f"users other than its owner can access {path}", f"If this is not intended: chmod 600 {path}")
    facts["schema"] = _schema(path)
    return True


def _schema(path: Path) -> dict[str, Any]:
    import sqlite3

    try:
        db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            return {"version": version, "sqlite": sqlite3.sqlite_version}
        finally:
            db.close()
    except sqlite3.Error as error:
        return {"version": None, "sqlite": sqlite3.sqlite_version, "problem": f"cannot be read: {error}"}


def _broker(findings: Findings, url: str, app: Longboat | None) -> None:
    from longboat.cli.fail import told

    try:
        broker = connect(url)
        try:
            if not _examined(findings, broker, app):
                findings.facts["broker"] = {"answered_in": None, "problem": "cannot be worked with, see below"}
                return
            if lacks := lacking(broker):
                findings.facts["cannot"] = [each.sentence for each in lacks]
            if not {Capability.COUNTS, Capability.QUEUE_LENGTHS} & broker.capabilities:
                findings.facts["broker"] = {"answered_in": None, "problem": "not asked: it cannot count jobs"}
                return
            began = time.monotonic()
            broker.inspector.counts()
            findings.facts["broker"] = {"answered_in": time.monotonic() - began}
            _contents(findings, broker)
        finally:
            broker.close()
    except LongboatError as error:
        findings.facts["broker"] = {"answered_in": None, "problem": "does not answer"}
        what, advice, _ = told(error)
        findings.alarm(what, advice)


def _examined(findings: Findings, broker: Broker, app: Longboat | None) -> bool:
    """Whether the broker's store can be worked with, as far as the broker can tell."""
    report = diagnosis(broker)
    if report is None:
        return True
    findings.facts.update(report.facts)
    findings.problems += [Problem(*finding) for finding in report.findings]
    if app is not None and report.priorities is not None:
        _priorities(findings, app, *report.priorities)
    return not report.serious


def _priorities(findings: Findings, app: Longboat, lowest: int, highest: int) -> None:
    """Those of tasks that the broker does not tell apart."""
    beyond = [
        f"{name} ({task.template.priority})"
        for name, task in sorted(app.registry.tasks.items())
        if not lowest <= task.template.priority <= highest
    ]
    if beyond:
        findings.warn(
            f"the broker has levels of priority from {lowest} to {highest}; tasks with one beyond: {', '.join(beyond)}",
            f"Their jobs count as {lowest} or {highest}. Choose numbers within, or give urgent jobs a queue of their own.",
        )


def _contents(findings: Findings, broker: Broker) -> None:
    queues: dict[str, dict[str, int]] = {}
    totals = dict.fromkeys(State, 0)
    for (queue, state), number in sorted(broker.inspector.counts().items()):
        queues.setdefault(queue, {})[state.value] = number
        totals[state] += number
    findings.facts["queues"] = queues
    if (workers := _alive(broker)) is not None:
        _workers(findings, workers, [queue for queue, states in queues.items() if states.get("ready")])
    with contextlib.suppress(Unsupported):
        for name, problem in scheduler.unfireable(broker):
            findings.warn(f"schedule {name} is not fired: {problem}", "See `longboat schedules list`.")
    if totals[State.WAITING]:
        number = totals[State.WAITING]
        findings.warn(
            f"{counted(number, 'job')} wait{'s' if number == 1 else ''}: for other jobs, at a limit, or for a worker that "
            "knows their task",
            "See `longboat jobs --state waiting`; `longboat explain ID` says what one is waiting for.",
        )
    if totals[State.DEAD]:
        number = totals[State.DEAD]
        findings.warn(
            f"{counted(number, 'job')} {'is' if number == 1 else 'are'} dead",
            "See them with `longboat dead list`; retry them with `longboat dead retry`.",
        )


def _alive(broker: Broker) -> list[ConsumerView] | None:
    """The workers, by their leases or by what they tell of themselves; None if the broker knows neither."""
    if Capability.CONSUMERS in broker.capabilities:
        return broker.inspector.consumers()
    try:
        records = history.workers(broker.kv)
    except Unsupported:
        return None
    return [ConsumerView(each.id, each.name, each.queues, len(each.running), 0.0) for each in records]


def _workers(findings: Findings, workers: list[ConsumerView], busy: list[str]) -> None:
    """`busy`: queues with jobs that are ready."""
    findings.facts["workers"] = [
        {"name": worker.name or worker.id, "queues": worker.queues, "running": worker.running} for worker in workers
    ]
    served = {queue for worker in workers for queue in worker.queues}
    idle = [queue for queue in busy if queue not in served]
    if idle and all(worker.queues for worker in workers):
        findings.warn(f"no worker serves {', '.join(idle)}, and jobs are ready there", "Start one: `longboat worker`.")
