"""Bulk actions: changing all jobs that a search finds, in the background. Its progress is kept with the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.codec import decoded
from longboat.core.job import State, new_id
from longboat.dashboard.ask import Refused, Role
from longboat.dashboard.plain import asked
from longboat.errors import LongboatError
from longboat.observe import history
from longboat.observe.words import span
from longboat.operate import bulk
from longboat.operate.audit import BECAME, Act, By
from longboat.operate.search import Query, search, written
from longboat.operate.traces import Searched
from longboat.tasks.template import checked_name

NAMESPACE = "bulk"
STOPS = "bulk.stop"
KEPT = 7 * 86400.0
MOST = 200_000
"""Jobs of one bulk action: their ids are held in memory."""
DRY_RUN = 20_000
"""About how many jobs a dry run looks at if the broker's counts do not tell."""
DRY_SECONDS = 5.0
"""And for how long: it looks on while somebody waits for a page."""
COUNTED = 2000
"""Jobs found between two looks at whether a count was stopped."""
AT_ONCE = 8
"""Bulk actions of one process at a time."""
THREAD = "longboat-bulk"
SILENT = 30.0
"""Seconds without an update after which the process running it is presumed dead."""


class Run(msgspec.Struct):
    """One bulk action."""

    id: str
    who: str
    verb: str
    query: str
    started: float
    at: float
    """When it was last updated."""
    total: int = 0
    """Jobs found."""
    tried: int = 0
    done: int = 0
    """Jobs it changed."""
    state: str = "searching"
    """searching, running, finished, stopped, failed."""
    error: str = ""
    to: str = ""
    """The queue that a move goes to."""
    spread: float = 0.0
    """Seconds over which retried jobs come back."""
    dry: bool = False
    """It only counts."""
    looked: int = 0
    """About how many jobs a count has looked at."""
    more: bool = False
    """There were more than MOST: the others are as they were."""

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped", "failed")

    @property
    def lost(self) -> bool:
        """Whether the process running it is gone."""
        return not self.over and SYSTEM.now() - self.at > SILENT


VERBS = {"retry": Role.OPERATOR, "cancel": Role.OPERATOR, "discard": Role.ADMIN, "move": Role.OPERATOR}
"""What can be done (see ACTIONS in operate/bulk.py), and the role it takes."""


class Dry(msgspec.Struct):
    """What a bulk action would find."""

    count: int | None
    """None: it is done by a rule that workers keep, and how many they will meet is not known."""
    exact: bool
    """False: there are at least this many."""
    looked: int = 0
    """About how many jobs it has looked at, where it has not looked at all of them."""


def meant(verb: str, text: str, role: Role = Role.ADMIN) -> Query:
    """The search, narrowed to states that the verb applies to. Raises Refused for who may not do it, and ConfigError."""
    if verb not in VERBS:
        raise Refused(400, f"There is no bulk action {verb!r}.", f"The bulk actions are {', '.join(VERBS)}.")
    if role < VERBS[verb]:
        raise Refused(403, f"{verb.capitalize()} requires the role {VERBS[verb].name.lower()}.")
    return bulk.meant(verb, asked(text))


def dry_run(broker: Searched, query: Query) -> Dry:
    """How many jobs match, without changing them."""
    if query.counted:
        counts = broker.inspector.counts()
        wanted = query.states or tuple(State)
        return Dry(sum(n for (q, s), n in counts.items() if s in wanted and query.queue in ("", q)), True)
    count, looked, end = 0, 0, time.monotonic() + DRY_SECONDS
    after: str | None = None
    while looked < DRY_RUN and time.monotonic() < end:
        found = search(broker, query, after=after, limit=500)
        count, looked, after = count + len(found.jobs), looked + found.looked, found.after
        if after is None:
            return Dry(count, True)
    return Dry(count, False, looked)


def start(
    broker: Broker, by: By, verb: str, text: str, role: Role, *, to: str = "", spread: float = 0.0, dry: bool = False
) -> Run:
    """Start it in a thread of this process; `to`: the queue that a move goes to; `spread`: the seconds over which retried
    jobs come back; `dry`: only count, however many there are. Raises Refused, ConfigError or Unsupported.
    """
    query = meant(verb, text, role)
    if verb == "move":
        checked_name(to, "queue")
    bulk.check(broker, verb, spread)
    if sum(thread.name == THREAD for thread in threading.enumerate()) >= AT_ONCE:
        raise Refused(429, f"{AT_ONCE} bulk actions are already running here.", "Wait for one to end, or stop one.")
    now = SYSTEM.now()
    run = Run(new_id(), by.who, verb, written(query), now, now, to=to, spread=spread, dry=dry)
    _keep(broker.kv, run)
    threading.Thread(target=_count if dry else _work, args=(broker, by, run, query), name=THREAD, daemon=True).start()
    return run


def stop(kv: KV, run_id: str) -> None:
    kv.write(STOPS, [Entry(run_id, b"1", KEPT)])


def get(kv: KV, run_id: str) -> Run | None:
    value = kv.read(NAMESPACE, [run_id])[0]
    return decoded(value, Run)


def newest(kv: KV, limit: int = 20) -> list[Run]:
    """Newest first."""
    return history.newest(kv, NAMESPACE, Run, limit)


def _work(broker: Broker, by: By, run: Run, query: Query) -> None:
    spread = f" over {span(run.spread)}" if run.spread else ""
    act, what = Act(broker, by, run.verb, run.id), f"bulk {run.verb} of {run.query or 'all jobs'}{spread}"
    act.tell(f"{what}: begun")

    def look(more: int) -> None:
        run.total += more
        _keep(broker.kv, run)

    def advance(done: bulk.Progress, _: int) -> None:
        run.tried, run.done = done.tried, done.done
        act.mark(done.changed)
        _keep(broker.kv, run)

    def stopped() -> bool:
        return _stopped(broker, run)

    def work() -> None:
        chosen = bulk.choose(broker, query, to=run.to, most=MOST, look=look, stop=stopped)
        run.state, run.total, run.more = "running", len(chosen.ids), len(chosen.ids) == MOST
        done = bulk.carry_out(
            broker, run.verb, query, chosen.ids, to=run.to, spread=run.spread, advance=advance, stop=stopped
        )
        run.state = "stopped" if done.stopped else "finished"

    _carefully(run, work)
    act.tell(f"{what}: {run.state}{f', {run.error}' if run.error else ''}, {run.done:,} of {run.total:,} {BECAME[run.verb]}")
    _end(broker, run)


def _count(broker: Broker, _: By, run: Run, query: Query) -> None:
    """Look at all jobs there are. One that goes on to another state meanwhile may be counted twice."""

    def count() -> None:
        after: str | None = None
        while not _stopped(broker, run):
            found = search(broker, query, after=after, limit=COUNTED)
            run.total, run.looked, after = run.total + len(found.jobs), run.looked + found.looked, found.after
            _keep(broker.kv, run)
            if after is None:
                run.state = "finished"
                return
        run.state = "stopped"

    _carefully(run, count)
    _end(broker, run)


def _carefully(run: Run, work: Callable[[], None]) -> None:
    try:
        work()
    except LongboatError as error:
        run.state, run.error = "failed", str(error)
    except Exception as error:
        logging.getLogger("longboat.dashboard").exception("bulk action %s failed", run.id)
        run.state, run.error = "failed", repr(error)


def _stopped(broker: Broker, run: Run) -> bool:
    return broker.kv.read(STOPS, [run.id])[0] is not None


def _end(broker: Broker, run: Run) -> None:
    try:
        _keep(broker.kv, run)
    except LongboatError:
        logging.getLogger("longboat.dashboard").warning("bulk action %s: its outcome could not be stored", run.id)


def _keep(kv: KV, run: Run) -> None:
    run.at = SYSTEM.now()
    kv.write(NAMESPACE, [Entry(run.id, msgspec.msgpack.encode(run), KEPT)])
