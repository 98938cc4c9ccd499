"""Clauses about jobs in a transaction of the caller's: put with its other work, or not at all."""

from __future__ import annotations

from longboat.contract.capabilities import Capability
from longboat.contract.kv import Entry
from longboat.contract.optional import transactional
from longboat.core.constraints import Constraints
from longboat.core.job import State
from longboat.errors import UnknownParent
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import Stage, check, job, same, take

NEEDS = {Capability.TRANSACTIONAL, Capability.LOOKUP, Capability.COUNTS, Capability.KV, Capability.IDS}
"""What every clause here needs."""


@clause
def a_job_is_there_with_the_callers_commit(on: Stage) -> None:
    """A job that was put within a transaction is seen by nobody before the commit, and by everybody after it."""
    connection = on.connection()
    sent = job()
    same(transactional(on.broker).within(connection).put([sent]), [sent.id], "the ids that were new")
    same(on.broker.inspector.find([sent.id]), [None], "what is found before the commit")
    connection.commit()
    same(on.state(sent.id), State.READY, "its state after the commit")
    same(take(on.consumer(of=on.another())).job.id, sent.id, "the job received")


@clause
def a_rollback_leaves_nothing(on: Stage) -> None:
    """After a rollback there is neither the job nor the entry, and its id is new again."""
    connection = on.connection()
    sent = job("chosen")
    within = transactional(on.broker).within(connection)
    within.kv.write("n", [Entry("k", b"v")])
    within.put([sent])
    connection.rollback()
    same(on.broker.inspector.counts(), {}, "the counts after the rollback")
    same(on.broker.kv.read("n", ["k"]), [None], "the entry after the rollback")
    same(on.put(sent), [sent.id], "the ids that are new after the rollback")


@clause
def a_transaction_sees_what_it_has_put(on: Stage) -> None:
    """Within the transaction a job is found and its id is known, as is an entry; a put outside keeps its effect."""
    connection = on.connection()
    before, sent = job("before"), job()
    on.put(before)
    within = transactional(on.broker).within(connection)
    within.put([sent])
    same(within.put([sent, before]), [], "the new ids of a second put")
    same([view.id for view in within.inspector.find([sent.id, before.id]) if view], [sent.id, before.id], "the jobs found")
    same(within.kv.put_if_absent("n", [Entry("k", b"v")]), [True], "the entry written")
    same(within.kv.compare_and_set("n", Entry("k", b"w"), old=b"v"), True, "the entry changed")
    connection.commit()
    same((on.broker.kv.read("n", ["k"]), on.state(sent.id)), ([b"w"], State.READY), "the entry and the job afterwards")


@clause(needs={Capability.DEPENDENCIES})
def what_is_refused_leaves_the_transaction_as_it_was(on: Stage) -> None:
    """Of a put that raises nothing is stored; what the transaction did before can still be committed."""
    connection = on.connection()
    first, good, orphan = job(), job(), job(constraints=Constraints(after=["nobody"]))
    within = transactional(on.broker).within(connection)
    within.put([first])
    try:
        within.put([good, orphan])
    except UnknownParent:
        connection.commit()
    else:
        check(False, "a job after an unknown one was stored")
    same(on.state(first.id), State.READY, "the state of the job before")
    same(on.broker.inspector.find([good.id]), [None], "what is found of the refused put")
