"""Bulk actions: what is done to all jobs that a search finds, in the background, with its progress on the board."""

from __future__ import annotations

import logging
import threading

import msgspec

from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.core.clock import SYSTEM
from longboat.core.job import State, new_id
from longboat.dashboard.ask import Refused, Role
from longboat.dashboard.plain import asked
from longboat.errors import LongboatError
from longboat.observe.history import decoded
from longboat.operate import bulk
from longboat.operate.search import Query, search, written
from longboat.tasks.template import checked_name

NAMESPACE = "bulk"
STOPS = "bulk.stop"
KEPT = 7 * 86400.0
MOST = 200_000
"""Jobs of one bulk action: their ids are held in memory."""
DRY_RUN = 20_000
"""Jobs that a dry run looks at where counts do not answer, about."""
AT_ONCE = 8
"""Bulk actions of one process."""
THREAD = "longboat-bulk"
SILENT = 30.0
"""Seconds without a word after which the one who did it is gone."""


class Run(msgspec.Struct):
    """One bulk action, as it is kept on the board."""

    id: str
    who: str
    verb: str
    query: str
    begun: float
    at: float
    """When it was written last."""
    total: int = 0
    """Jobs found."""
    tried: int = 0
    done: int = 0
    """Those it had an effect on."""
    state: str = "looking"
    """looking, running, finished, stopped, failed."""
    error: str = ""
    to: str = ""
    """The queue that a move goes to."""

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped", "failed")

    @property
    def lost(self) -> bool:
        """Whether the process that did it is gone."""
        return not self.over and SYSTEM.now() - self.at > SILENT


class Kind(msgspec.Struct, frozen=True):
    role: Role
    """Who may do it."""


VERBS = {
    "retry": Kind(Role.OPERATOR),
    "cancel": Kind(Role.OPERATOR),
    "discard": Kind(Role.ADMIN),
    "move": Kind(Role.OPERATOR),
}
"""What is done: see ACTIONS in longboat/bulk.py."""


class Dry(msgspec.Struct):
    """What a bulk action would find."""

    count: int
    exact: bool
    """False: at least so many."""


def meant(verb: str, text: str) -> Query:
    """The search, held to states that the verb can do something with. Raises Refused or ConfigError."""
    if verb not in VERBS:
        raise Refused(400, f"There is no bulk action {verb!r}.", f"There are {', '.join(VERBS)}.")
    return bulk.meant(verb, asked(text))


def dry_run(broker: Broker, query: Query) -> Dry:
    """How many jobs are meant, without touching them."""
    if query.counted:
        counts = broker.inspector.counts()
        wanted = query.states or tuple(State)
        return Dry(sum(n for (q, s), n in counts.items() if s in wanted and query.queue in ("", q)), True)
    count = looked = 0
    after: str | None = None
    while looked < DRY_RUN:
        found = search(broker, query, after=after, limit=500)
        count, looked, after = count + len(found.jobs), looked + found.looked, found.after
        if after is None:
            return Dry(count, True)
    return Dry(count, False)


def start(broker: Broker, who: str, verb: str, text: str, role: Role, to: str = "") -> Run:
    """Begin, in a thread of this process; `to`: the queue that a move goes to. Raises Refused or ConfigError."""
    query = meant(verb, text)
    if role < VERBS[verb].role:
        raise Refused(403, f"{verb.capitalize()} takes the role {VERBS[verb].role.name.lower()}.")
    if verb == "move":
        checked_name(to, "queue")
    if sum(thread.name == THREAD for thread in threading.enumerate()) >= AT_ONCE:
        raise Refused(429, f"{AT_ONCE} bulk actions run here already.", "Wait for one to end, or stop one.")
    now = SYSTEM.now()
    run = Run(new_id(), who, verb, written(query), now, now, to=to)
    _keep(broker.kv, run)
    threading.Thread(target=_work, args=(broker, run, query), name=THREAD, daemon=True).start()
    return run


def stop(kv: KV, run_id: str) -> None:
    kv.write(STOPS, [Entry(run_id, b"1", KEPT)])


def get(kv: KV, run_id: str) -> Run | None:
    value = kv.read(NAMESPACE, [run_id])[0]
    return None if value is None else decoded(value, Run)


def newest(kv: KV, limit: int = 20) -> list[Run]:
    """The newest first."""
    found: list[bytes] = []
    after = ""
    while entries := kv.entries(NAMESPACE, after=after):
        found = [*found, *(value for _, value in entries)][-limit:]
        after = entries[-1][0]
    return [run for value in reversed(found) if (run := decoded(value, Run)) is not None]


def _work(broker: Broker, run: Run, query: Query) -> None:
    def look(more: int) -> None:
        run.total += more
        _keep(broker.kv, run)

    def advance(done: bulk.Done, _: int) -> None:
        run.tried, run.done = done.tried, done.done
        _keep(broker.kv, run)

    def stopped() -> bool:
        return _stopped(broker.kv, run)

    try:
        chosen = bulk.choose(broker, query, to=run.to, most=MOST, look=look, stop=stopped)
        run.state, run.total = "running", len(chosen.ids)
        done = bulk.carry_out(broker, run.verb, query, chosen.ids, to=run.to, advance=advance, stop=stopped)
        run.state = "stopped" if done.stopped else "finished"
    except LongboatError as error:
        run.state, run.error = "failed", str(error)
    except Exception as error:
        logging.getLogger("longboat.dashboard").exception("bulk action %s failed", run.id)
        run.state, run.error = "failed", repr(error)
    try:
        _keep(broker.kv, run)
    except LongboatError:
        logging.getLogger("longboat.dashboard").warning("bulk action %s: its end could not be written down", run.id)


def _stopped(kv: KV, run: Run) -> bool:
    return kv.read(STOPS, [run.id])[0] is not None


def _keep(kv: KV, run: Run) -> None:
    run.at = SYSTEM.now()
    kv.write(NAMESPACE, [Entry(run.id, msgspec.msgpack.encode(run), KEPT)])
