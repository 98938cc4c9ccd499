"""Bulk actions: what is done to all jobs that a search finds, in the background, with its progress on the board."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from longboat.board import Board, Note
from longboat.broker import Broker
from longboat.clock import SYSTEM
from longboat.dashboard.ask import Refused, Role
from longboat.errors import LongboatError
from longboat.job import State, new_id
from longboat.search import Query, every, parse, search, written

SPACE = "bulk"
STOPS = "bulk.stop"
KEPT = 7 * 86400.0
BATCH = 200
MOST = 200_000
"""Jobs of one bulk action: their ids are held in memory."""
DRY_RUN = 20_000
"""Jobs that a dry run looks at where counts do not answer, about."""
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

    @property
    def over(self) -> bool:
        return self.state in ("finished", "stopped", "failed")

    @property
    def lost(self) -> bool:
        """Whether the process that did it is gone."""
        return not self.over and SYSTEM.now() - self.at > SILENT


class Kind(msgspec.Struct, frozen=True):
    role: Role
    states: tuple[State, ...]
    """Of which states jobs can be meant."""
    act: Callable[[Broker, Sequence[str]], int]


def discard(broker: Broker, ids: Sequence[str]) -> int:
    """Delete these jobs, unless they run, have succeeded or been cancelled, or are part of a flow; returns how many."""
    total, left = 0, list(ids)
    while left:
        name = f"{new_id()} discarded"
        parcels = broker.transit.pack(name, left)
        broker.transit.delivered(name)
        total += len(parcels)
        if not parcels:
            break
        left = left[left.index(parcels[-1].id) + 1 :]  # there may have been more than go in one batch
    return total


_OPEN = (State.RUNNING, State.READY, State.WAITING, State.SCHEDULED)
VERBS = {
    "retry": Kind(Role.OPERATOR, (State.DEAD,), lambda broker, ids: len(broker.inspector.revive(ids))),
    "cancel": Kind(Role.OPERATOR, _OPEN, lambda broker, ids: len(broker.inspector.cancel(ids))),
    "discard": Kind(Role.ADMIN, (State.DEAD, State.READY, State.WAITING, State.SCHEDULED), discard),
}


class Dry(msgspec.Struct):
    """What a bulk action would find."""

    count: int
    exact: bool
    """False: at least so many."""


def meant(verb: str, text: str) -> Query:
    """The search, held to states that the verb can do something with. Raises Refused or ConfigError."""
    if verb not in VERBS:
        raise Refused(400, f"There is no bulk action {verb!r}.", f"There are {', '.join(VERBS)}.")
    query = parse(text)
    states = tuple(state for state in VERBS[verb].states if not query.states or state in query.states)
    if not states:
        raise Refused(400, f"{verb.capitalize()} does nothing to jobs that are {' or '.join(query.states)}.")
    return msgspec.structs.replace(query, states=states)


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


def start(broker: Broker, who: str, verb: str, text: str, role: Role) -> Run:
    """Begin, in a thread of this process. Raises Refused or ConfigError."""
    query = meant(verb, text)
    if role < VERBS[verb].role:
        raise Refused(403, f"{verb.capitalize()} takes the role {VERBS[verb].role.name.lower()}.")
    now = SYSTEM.now()
    run = Run(new_id(), who, verb, written(query), now, now)
    _keep(broker.board, run)
    threading.Thread(target=_work, args=(broker, run, query), name="longboat-bulk", daemon=True).start()
    return run


def stop(board: Board, run_id: str) -> None:
    board.write(STOPS, [Note(run_id, b"1", KEPT)])


def get(board: Board, run_id: str) -> Run | None:
    value = board.read(SPACE, [run_id])[0]
    return None if value is None else msgspec.msgpack.decode(value, type=Run)


def newest(board: Board, limit: int = 20) -> list[Run]:
    """The newest first."""
    found: list[bytes] = []
    after = ""
    while notes := board.notes(SPACE, after=after):
        found = [*found, *(value for _, value in notes)][-limit:]
        after = notes[-1][0]
    return [msgspec.msgpack.decode(value, type=Run) for value in reversed(found)]


def _work(broker: Broker, run: Run, query: Query) -> None:
    try:
        ids: list[str] = []
        for jobs in every(broker, query):
            ids += [job.id for job in jobs]
            run.total = len(ids)
            _keep(broker.board, run)
            if _stopped(broker.board, run) or len(ids) >= MOST:
                break
        run.state = "running"
        for begin in range(0, len(ids), BATCH):
            if _stopped(broker.board, run):
                run.state = "stopped"
                break
            some = ids[begin : begin + BATCH]
            run.done += VERBS[run.verb].act(broker, some)
            run.tried += len(some)
            _keep(broker.board, run)
        else:
            run.state = "finished"
    except LongboatError as error:
        run.state, run.error = "failed", str(error)
    except Exception as error:
        logging.getLogger("longboat.dashboard").exception("bulk action %s failed", run.id)
        run.state, run.error = "failed", repr(error)
    try:
        _keep(broker.board, run)
    except LongboatError:
        logging.getLogger("longboat.dashboard").warning("bulk action %s: its end could not be written down", run.id)


def _stopped(board: Board, run: Run) -> bool:
    return board.read(STOPS, [run.id])[0] is not None


def _keep(board: Board, run: Run) -> None:
    run.at = SYSTEM.now()
    board.write(SPACE, [Note(run.id, msgspec.msgpack.encode(run), KEPT)])
