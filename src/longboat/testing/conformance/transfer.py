"""Clauses about moving jobs from one store into another. Most use one store for both."""

from __future__ import annotations

import time

from longboat.contract.broker import Settlement
from longboat.contract.capabilities import Capability
from longboat.contract.transfer import ROOM, ExportedJob
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import Cancelled, Dead, Done, Job, Park, Retry, State
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    check,
    ids,
    job,
    limits,
    meanwhile,
    nothing,
    same,
    settle,
    some,
    take,
    take_all,
    timed,
)

NEEDS = {Capability.TRANSFER}
"""Of every clause here."""


def _moved(on: Stage, jobs: list[Job], name: str = "one") -> list[ExportedJob]:
    """Out of the store and in again; what was on the way."""
    exported_jobs = on.broker.transfer.export_jobs(name, ids(jobs))
    same(
        on.broker.transfer.import_jobs(f"{name} in", exported_jobs),
        [exported.id for exported in exported_jobs],
        "ids unpacked",
    )
    on.broker.transfer.confirm(name)
    return exported_jobs


@clause(needs={Capability.LOOKUP, Capability.COUNTS, Capability.DEAD_JOBS, Capability.PARKING})
def exported_jobs_leave_whole(on: Stage) -> None:
    """An export takes ready, scheduled, parked and dead jobs out at once: nobody finds or receives them, and the export
    holds everything about them, in the order asked.
    """
    ready, scheduled = job(priority=3, queue="q"), job(delay=60.0)
    parked, dead = on.ended(Park(60.0, BOOM)), on.ended(Dead(BOOM))
    on.put(ready, scheduled)
    jobs = [dead, ready, scheduled, parked]
    exported_jobs = on.broker.transfer.export_jobs("one", ids(jobs))
    same([exported.id for exported in exported_jobs], ids(jobs), "ids packed")
    same([exported.dead for exported in exported_jobs], [True, False, False, False], "which are dead")
    same([exported.priority for exported in exported_jobs], [0, 3, 0, 0], "priorities")
    same([round(exported.delay / 60) for exported in exported_jobs], [0, 0, 1, 0], "minutes of delay left")
    same([failure.type for failure in exported_jobs[0].failures], [BOOM.type], "failures of the dead one")
    same(dict(on.another().inspector.counts()), {}, "jobs left")
    same(on.another().inspector.find(ids(jobs)), [None] * 4, "jobs found")
    nothing(on.consumer(tasks=["t"]))


@clause(needs={Capability.LOOKUP})
def an_export_is_kept_until_confirmed(on: Stage) -> None:
    """Any client finds an export by its name until it is confirmed; exporting under that name again takes nothing more."""
    jobs = some(3)
    on.put(*jobs)
    same(on.broker.transfer.unconfirmed(), [], "names at first")
    first = on.broker.transfer.export_jobs("b", ids(jobs[:1]))
    second = on.broker.transfer.export_jobs("a", ids(jobs[1:2]))
    same(on.another().transfer.unconfirmed(), ["a", "b"], "names")
    same(on.another().transfer.export_jobs("b", ids(jobs)), first, "what is packed under the first name")
    same(on.state(jobs[2].id), State.READY, "the third job")
    on.another().transfer.confirm("b")
    same(on.broker.transfer.unconfirmed(), ["a"], "names after one was delivered")
    same(on.broker.transfer.export_jobs("a", []), second, "what is packed under the other name")
    on.broker.transfer.confirm("b")
    same(on.broker.transfer.export_jobs("c", ["nobody"]), [], "packed of what is not known")
    same(on.broker.transfer.unconfirmed(), ["a"], "names in the end")


@clause(needs={Capability.LOOKUP})
def running_and_ended_jobs_are_not_exported(on: Stage) -> None:
    """An export leaves leased, succeeded and cancelled jobs alone."""
    done, cancelled = on.ended(Done(b"x")), on.ended(Cancelled(BOOM))
    on.put(leased := job())
    consumer = on.consumer()
    lease = take(consumer)
    same(on.broker.transfer.export_jobs("one", ids([done, cancelled, leased])), [], "what was packed")
    states = [on.state(each) for each in ids([done, cancelled, leased])]
    same(states, [State.SUCCEEDED, State.CANCELLED, State.RUNNING], "states")
    settle(consumer, lease)
    same(on.state(leased.id), State.SUCCEEDED, "the leased one in the end")


@clause(needs={Capability.DEPENDENCIES})
def dependent_jobs_are_not_exported(on: Stage) -> None:
    """An export leaves jobs alone that come after others or that others wait for."""
    parent = job()
    child = job(constraints=Constraints(after=[parent.id]))
    on.put(parent, child)
    same(on.broker.transfer.export_jobs("one", ids([parent, child])), [], "what was packed")
    consumer = on.consumer()
    settle(consumer, take(consumer))
    same(on.broker.transfer.export_jobs("one", ids([child])), [], "what was packed of the child alone")
    same(take(consumer).job.id, child.id, "received then")


@clause(needs={Capability.LIMITS})
def a_limit_goes_with_its_job(on: Stage) -> None:
    """An export takes blocked jobs, and where they are imported the limit holds them back again."""
    jobs = some(3, constraints=Constraints(limits=[JobLimit("g", running=1)]))
    on.put(*jobs)
    consumer = on.consumer()
    lease = take(consumer)
    nothing(consumer)
    left = [each for each in jobs if each.id != lease.job.id]
    same([exported.id for exported in _moved(on, left)], ids(left), "ids packed")
    nothing(on.consumer())
    settle(consumer, lease)
    second = take(consumer)
    nothing(on.consumer())
    settle(consumer, second)
    same(sorted([second.job.id, take(consumer).job.id]), sorted(ids(left)), "received one by one")


@clause(needs={Capability.COUNTS})
def an_export_is_bounded_in_size(on: Stage) -> None:
    """Of very large jobs, an export takes as many as fit in ROOM, in order; the rest stay."""
    jobs = [job(payload=bytes(900_000)) for _ in range(ROOM // 900_000 + 3)]
    for each in jobs:
        on.put(each)
    exported_jobs = on.broker.transfer.export_jobs("one", ids(jobs))
    check(0 < len(exported_jobs) < len(jobs), f"{len(exported_jobs)} of {len(jobs)} were packed")
    same([exported.id for exported in exported_jobs], ids(jobs[: len(exported_jobs)]), "ids packed")
    same(dict(on.broker.inspector.counts()), {("q", State.READY): len(jobs) - len(exported_jobs)}, "jobs left")
    same(on.broker.transfer.import_jobs("two", exported_jobs), ids(jobs[: len(exported_jobs)]), "ids unpacked")


@clause(needs={Capability.COUNTS, Capability.LOOKUP, Capability.EVICT, Capability.DEATHS})
def imported_jobs_are_as_they_were(on: Stage) -> None:
    """An imported job is ready or scheduled as before, with its message, priority, attempts, failures and worker deaths."""
    on.put(first := job(payload=b"\x81\xa1a\x01", keep=5.0, headers={"a": "b"}), second := job(priority=5))
    consumer = on.consumer(lease=60.0)
    leases = take_all(consumer, 2)
    consumer.settle([Settlement(lease, Retry(0.0, BOOM)) for lease in leases])
    leases = take_all(consumer, 2)
    on.broker.evict(consumer.id, BOOM)
    scheduled = job(delay=0.5)
    on.put(scheduled)
    _moved(on, [first, second, scheduled])
    wanted = {("q", State.READY): 2, ("q", State.SCHEDULED): 1}
    same(dict(on.another().inspector.counts()), wanted, "jobs after the move")
    fresh = on.consumer()
    leases = take_all(fresh, 2)
    same(ids(leases), ids([second, first]), "ids in the order received")
    its = leases[1]
    same((its.attempt, its.worker_deaths, its.failures), (2, 1, 1), "attempt, returns and failures as leased")
    same((its.job.payload, its.job.keep, its.job.headers), (first.payload, 5.0, {"a": "b"}), "parts of the message")
    settle(fresh, leases[0])
    settle(fresh, its)
    same(on.view(first.id).attempts, 2, "attempts in the end")
    same(take(fresh).job.id, scheduled.id, "received when its time had come")


@clause(needs={Capability.LOOKUP, Capability.DEAD_JOBS})
def dead_jobs_are_imported_dead(on: Stage) -> None:
    """A dead job is dead again where it is imported, findable with its failures and attempts, and can be retried."""
    dead = on.ended(Dead(BOOM), queue="graves")
    on.ended(Dead(BOOM))
    _moved(on, [dead])
    view = on.another().inspector.find([dead.id])[0]
    assert view is not None
    same((view.state, view.queue, view.attempts), (State.DEAD, "graves", 1), "state, queue, attempts")
    same([failure.message for failure in view.failures], [BOOM.message], "failures")
    same([each.id for each in on.broker.inspector.jobs(State.DEAD, queue="graves").jobs], [dead.id], "listed as dead")
    same(on.broker.inspector.retry([dead.id]), [dead.id], "revived")
    same(take(on.consumer("graves")).attempt, 1, "the attempt as leased then")


@clause(needs={Capability.LOOKUP, Capability.EXPIRY})
def an_expiry_goes_with_its_job(on: Stage) -> None:
    """A job that was exported and imported expires when it would have expired."""
    on.put(short := job(expires=0.4), long := job(expires=60.0))
    _moved(on, [short, long])
    time.sleep(0.45)
    same(ids(take_all(on.consumer(), 1)), [long.id], "received")
    same(on.state(short.id), State.CANCELLED, "the other's state")


@clause(needs={Capability.LOOKUP, Capability.IDS})
def importing_again_makes_no_second_job(on: Stage) -> None:
    """The same name imports once, although its jobs have run and are forgotten; a known id has no effect."""
    on.put(brief := job(keep=0.0), known := job(id="mine"))
    exported_jobs = on.broker.transfer.export_jobs("one", ids([brief, known]))
    both = ids([brief, known])
    for _ in range(2):
        same(on.another().transfer.import_jobs("in", exported_jobs), both, "ids said to be unpacked")
    same(on.broker.transfer.import_jobs("other", exported_jobs), [], "new ids under another name")
    consumer = on.consumer()
    for lease in take_all(consumer, 2):
        settle(consumer, lease)
    same(on.another().transfer.import_jobs("in", exported_jobs), both, "ids said to be unpacked after they ended")
    same(on.broker.inspector.find([brief.id]), [None], "the job that was forgotten")
    nothing(consumer)


@clause(needs={Capability.IDS})
def an_exported_id_is_remembered_and_may_come_back(on: Stage) -> None:
    """An id chosen by a caller stays known after its job was exported: a put has no effect, an import brings it back."""
    mine = job(id="mine")
    on.put(mine)
    exported_jobs = on.broker.transfer.export_jobs("one", ["mine"])
    same(on.another().put([mine]), [], "ids that were new in a put meanwhile")
    nothing(on.consumer())
    same(on.broker.transfer.import_jobs("two", exported_jobs), ["mine"], "ids unpacked")
    consumer = on.consumer()
    settle(consumer, take(consumer))
    same(on.broker.put([mine]), [], "ids that were new in a put after it ended")
    same(on.broker.transfer.import_jobs("three", exported_jobs), [], "ids unpacked after it ended")


@clause
def an_import_wakes_a_waiting_receive(on: Stage) -> None:
    """A waiting consumer receives an imported job at once."""
    on.put(*(jobs := some(1)))
    exported_jobs = on.broker.transfer.export_jobs("one", ids(jobs))
    consumer = on.consumer()
    receiving = meanwhile(lambda: timed(lambda: take(consumer)))
    time.sleep(0.05)
    on.another().transfer.import_jobs("two", exported_jobs)
    unpacked = time.monotonic()
    lease, at = receiving()
    same(lease.job.id, jobs[0].id, "received")
    check(at - unpacked < limits.prompt, "who waited was not woken")
