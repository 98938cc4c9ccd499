"""Changing many jobs: which ones, a confirmation, progress, and a Ctrl-C that stops between two batches."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
import msgspec

from longboat.cli import acting, show
from longboat.cli.address import nothing, opened
from longboat.cli.asking import agreed, jobs
from longboat.cli.fail import DONE, FAILED, INTERRUPTED
from longboat.cli.ids import whole_flow, wholes
from longboat.cli.query import usage
from longboat.cli.table import table
from longboat.client.flows import cancel, known, members
from longboat.client.progress_bar import bar
from longboat.contract.capabilities import Capability
from longboat.errors import LongboatError
from longboat.observe.words import span
from longboat.operate import bulk
from longboat.operate.audit import named
from longboat.operate.bulk import Chosen, Progress
from longboat.operate.search import Query, from_arguments, written
from longboat.tasks.template import checked_name

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

SAID = {
    "retry": ("retry", "retried", "dead"),
    "cancel": ("cancel", "cancelled", "unfinished"),
    "discard": ("delete", "deleted", ""),
    "move": ("move", "moved", ""),
}
"""Action -> what would be done, what was done, and to jobs of which kind."""


def by_words(action: str, words: Sequence[str], *, to: str = "", **how: Any) -> int:
    """Apply the action to all jobs that the words find; returns the exit status. `how`: see `run`."""
    with usage():
        query = bulk.meant(action, from_arguments(words))
        to = checked_name(to, "queue") if action == "move" else ""
    return run(action, query, to=to, **how)


def run(
    action: str,
    query: Query,
    *,
    url: str | None,
    ids: Sequence[str] = (),
    flow: str = "",
    to: str = "",
    spread: float = 0.0,
    **how: Any,
) -> int:
    """Apply the action to all jobs that the query finds, or to those among `ids` or in the flow; returns the exit status.

    That is FAILED if some of the ids are not found. `how`: see `change`.
    """
    with opened(url) as broker:
        bulk.check(broker, action, spread)
        ids, query = wholes(broker, ids), msgspec.structs.replace(query, ids=tuple(wholes(broker, query.ids)))
        flow = whole_flow(broker, flow)
        if flow and Capability.LOOKUP not in broker.capabilities:
            return _cancel_flow(broker, flow, **how)
        if not flow and not ids and bulk.by_rule(broker, action, query):
            return _cancel_by_rule(broker, query, **how)
        if flow:
            known(broker.kv, flow)  # raises where there is none
            ids = [job_id for some in members(broker.kv, flow) for job_id, _ in some][::-1]  # so that none starts meanwhile
        chosen = among(broker, query, ids) if ids or flow else choose(broker, query, to=to)
        missing = 0 if flow or not ids else len(ids) - len(chosen.ids)
        if missing:
            click.echo(f"{missing} of the {len(ids)} ids: no such dead job", err=True)
        status = change(broker, action, query, chosen, to=to, spread=spread, **how)
    return FAILED if missing and status == DONE else status


def _cancel_by_rule(
    broker: Broker, query: Query, *, yes: bool, dry_run: bool, reason: str | None = None, as_json: bool = False
) -> int:
    """Cancel all jobs of a queue or task where none of them can be found: how many they are is not known."""
    if agreed(f"cancel all {bulk.said(query)}, however many", yes=yes, dry_run=dry_run, as_json=as_json):
        told = bulk.revoke(broker, query)
        acting.told(broker, "cancel", told, reason)
        if not as_json:
            click.echo(told)
    if as_json:
        said: dict[str, Any] = {"action": "cancel", "found": None, "by": [], "dry_run": dry_run}
        said.update(done=None, stopped=False)
        click.echo(show.to_json(said))
    return DONE


def _cancel_flow(broker: Broker, flow: str, *, yes: bool, dry_run: bool, reason: str | None = None) -> int:
    """Where it is not known which of its jobs have ended."""
    known(broker.kv, flow)
    if agreed(f"cancel the jobs of flow {flow} that have not ended", yes=yes, dry_run=dry_run):
        done = jobs(len(ids := cancel(broker, flow)))
        acting.told(broker, "flow-cancel", f"{done} of flow {flow} cancelled", reason, ids)
        click.echo(f"cancelled {done}, unless they have ended: the first worker to come to each ends it")
    return DONE


def choose(broker: Broker, query: Query, *, to: str = "") -> Chosen:
    """All jobs that are found, except those in queue `to` already."""
    with bar("Found", None) as look:
        return bulk.choose(broker, query, to=to, look=look)


def among(broker: Broker, query: Query, ids: Sequence[str]) -> Chosen:
    """Those of the jobs with these ids that the query finds."""
    return bulk.choose(broker, msgspec.structs.replace(query, ids=tuple(ids))) if ids else Chosen()


def change(
    broker: Broker,
    action: str,
    query: Query,
    chosen: Chosen,
    *,
    yes: bool,
    dry_run: bool,
    reason: str | None = None,
    to: str = "",
    spread: float = 0.0,
    as_json: bool = False,
) -> int:
    """Ask, change the chosen jobs, report how many (a dry run: by state and task); returns the exit status."""
    total, done = len(chosen.ids), Progress()
    would, was, of = SAID[action]
    where = f" to queue {to}" if to else f" over {span(spread)}" if spread else ""
    states: Counter[str] = Counter()
    for (state, _), number in chosen.by.items():
        states[state.value] += number
    in_states = "" if of else f" ({', '.join(f'{number:,} {state}' for state, number in states.items())})"
    what = f"{would} {jobs(total, of)}{in_states}{where}"
    if total and agreed(what, yes=yes, dry_run=dry_run, as_json=as_json):
        act = acting.begun(broker, action, reason)
        with ctrl_c() as stop, bar(was.capitalize(), total) as draw:

            def advance(so_far: Progress, more: int) -> None:
                nonlocal done
                done = so_far
                act.mark(so_far.changed)
                draw(more)

            act.tell(f"{what}: begun")
            try:
                done = bulk.carry_out(broker, action, query, chosen.ids, to=to, spread=spread, advance=advance, stop=stop)
            except LongboatError:
                if done.tried:
                    click.echo(f"{was} {done.done:,} of {jobs(total, of)}{where} before this error:", err=True)
                raise
        acting.ended(act, named(f"{done.done:,} of {jobs(total, of)} {was}{where}: {written(query)}", chosen.ids))
        report(done, total, was, of, where, as_json)
    by = [{"state": state.value, "task": task, "jobs": number} for (state, task), number in chosen.by.most_common()]
    if as_json:
        document(action, by, done, dry_run)
    elif not total:
        nothing("no such jobs")
    elif dry_run:
        table(("state", "task", "jobs"), [[*map(str, each.values())] for each in by], right=("jobs",))
    return INTERRUPTED if done.stopped else DONE


def report(done: Progress, total: int, was: str, of: str, where: str, as_json: bool) -> None:
    """Say how many jobs it was (the JSON document says so too), and how many were left."""
    if not as_json:
        counted = f"{done.done:,} of {jobs(total, of)}" if done.stopped else jobs(done.done, of)
        click.echo(f"{'stopped: ' if done.stopped else ''}{was} {counted}{where}")
    if left := done.tried - done.done:
        click.echo(f"{jobs(left)} skipped: changed in the meantime, or part of a flow", err=True)


def document(action: str, by: list[dict[str, Any]], done: Progress, dry_run: bool) -> None:
    """All of it as JSON."""
    found = {"action": action, "found": sum(each["jobs"] for each in by), "by": by, "dry_run": dry_run}
    click.echo(show.to_json({**found, "done": done.done, "stopped": done.stopped}))


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Gives whether Ctrl-C was pressed; a second one interrupts as usual."""
    pressed = False

    def press(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
