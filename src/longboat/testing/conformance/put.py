"""Clauses about putting jobs."""

from __future__ import annotations

from longboat.contract.capabilities import Capability
from longboat.core.bounds import MESSAGE_LIMIT
from longboat.core.codec import encode
from longboat.core.job import Done, Job, State, new_id
from longboat.core.portions import TOGETHER
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import Stage, check, ids, job, nothing, same, settle, some, take, take_all


@clause(needs={Capability.IDS})
def put_returns_the_new_ids_in_order(on: Stage) -> None:
    """A put returns the ids that were new, in the order given; an empty put returns none."""
    first, second, third = some(3)
    same(on.put(), [], "an empty put")
    same(on.put(second), [second.id], "a put of one")
    same(on.put(third, second, first), [third.id, first.id], "a put of three, one of them known")


@clause
def a_job_arrives_as_it_was_put(on: Stage) -> None:
    """Every field of a job arrives at the worker unchanged, at another client too."""
    expires = 3600.0 if Capability.EXPIRY in on.broker.capabilities else None
    sent = job(
        task="pkg.mod:täsk",
        payload=encode({"n": 2**40, "raw": bytes(range(256)), "text": "a\0b\n☃"}),
        priority=-7,
        expires=expires,
        keep=12.5,
        enqueued=1234.5,
        headers={"trace": "a-b", "": ""},
    )
    big = job(payload=b"\0" * 1_000_000)
    on.put(sent, big)
    leases = take_all(on.consumer(of=on.another()), 2)
    same({lease.job.id: lease.job for lease in leases} == {sent.id: sent, big.id: big}, True, "the jobs received")


@clause
def what_is_put_together_may_be_32_mb(on: Stage) -> None:
    """One put takes 32 MB of arguments, within its time limit; each job arrives whole."""
    sent = [job(payload=bytes([n]) * MESSAGE_LIMIT) for n in range(TOGETHER // MESSAGE_LIMIT)]
    same(len(on.put(*sent)), len(sent), "jobs stored by one put")
    arrived = {lease.job.id: lease.job.payload for lease in take_all(on.consumer(), len(sent))}
    check(arrived == {each.id: each.payload for each in sent}, "the jobs that arrived are not those that were put")


@clause
def a_job_outlives_its_client(on: Stage) -> None:
    """What a put stored stays when the client that put it closes."""
    client = on.another()
    sent = job()
    client.put([sent])
    client.close()
    same(take(on.consumer()).job.id, sent.id, "the job received after its client closed")


@clause(needs={Capability.REPLIES})
def closing_is_idempotent(on: Stage) -> None:
    """A broker, a consumer and a listener may be closed again."""
    client = on.another()
    consumer, listener = on.consumer(of=client), on.listener(of=client)
    for each in (consumer, consumer, listener, listener, client, client):
        each.close()


@clause
def a_put_is_all_or_nothing(on: Stage) -> None:
    """A put that raises stores none of its jobs, and its token stays unknown."""
    good = some(2)
    bad = Job(1, new_id(), "t", b"", queue="q", headers={"a": object()})  # type: ignore[dict-item]  # what is wrong on purpose
    try:
        on.put(good[0], bad, good[1], token=("c", 1))
    except Exception:
        consumer = on.consumer()
        nothing(consumer, why="received after a put that raised")
        same(on.put(*good, token=("c", 1)), ids(good), "the put tried again")
        same(sorted(ids(take_all(consumer, 2))), sorted(ids(good)), "jobs after the put tried again")
    else:
        raise AssertionError("a job that cannot be encoded was stored")


@clause(needs={Capability.IDS, Capability.LOOKUP, Capability.COUNTS})
def a_known_id_has_no_effect(on: Stage) -> None:
    """A put of an id that is known in any state, or that came earlier in the same put, changes nothing."""
    consumer = on.consumer()
    for state in (State.RUNNING, State.SUCCEEDED, State.SCHEDULED, State.READY):
        known = job(priority=1, delay=3600.0 if state is State.SCHEDULED else 0.0)
        on.put(known)
        if state in (State.RUNNING, State.SUCCEEDED):
            lease = take(consumer)
            if state is State.SUCCEEDED:
                settle(consumer, lease)
        again = job(known.id, priority=9, task="other")
        same(on.put(again, again), [], f"new ids of a put of one that is {state}")
        view = on.view(known.id)
        same((view.state, view.priority, view.task), (state, 1, "t"), f"the {state} job after it was put again")
    fresh = job()
    same(on.put(fresh, fresh), [fresh.id], "new ids of a put that names one twice")
    same(sum(on.broker.inspector.counts().values()), 5, "jobs in all")


@clause(needs={Capability.IDS, Capability.LOOKUP, Capability.PURGE})
def a_chosen_id_stays_known_after_its_job(on: Stage) -> None:
    """An id chosen by a caller stays known after its job has ended and is gone: forgotten at once, pruned, or purged."""
    inspector = on.broker.inspector
    at_once = on.ended(Done(b""), id="nightly/1", keep=0.0)
    pruned = on.ended(Done(b""), id="nightly/2", keep=0.001)
    purged = on.ended(Done(b""), id="nightly/3", keep=60.0)
    unrun = job("nightly/4")
    on.put(unrun)
    while inspector.find([pruned.id])[0]:
        inspector.prune()
    while inspector.purge([State.SUCCEEDED, State.READY]):
        pass
    gone = [at_once, pruned, purged, unrun]
    same(inspector.find(ids(gone)), [None] * 4, "jobs found once they are gone")
    same(on.put(*gone), [], "new ids when they are put again")
    nothing(on.consumer())


@clause(needs={Capability.TOKENS, Capability.COUNTS})
def a_repeated_token_makes_no_second_job(on: Stage) -> None:
    """Retrying a put with the same token makes no job, whatever became of the first put, and returns all its ids."""
    jobs = some(3, keep=0.0)
    token = ("client", 7)
    same(on.put(*jobs, token=token), ids(jobs), "the first put")
    same(on.put(*jobs, token=token), ids(jobs), "the put tried again at once")
    consumer = on.consumer()
    for lease in take_all(consumer, 3):
        settle(consumer, lease)
    same(on.another().put(jobs, token=token), ids(jobs), "the put tried again by another after its jobs ended")
    nothing(consumer)
    same(dict(on.broker.inspector.counts()), {}, "jobs after all that")


@clause(needs={Capability.TOKENS, Capability.LOOKUP})
def a_token_names_one_put(on: Stage) -> None:
    """A higher number of the same client and any number of another client are new puts; a lower number is known."""
    a, b, c, d = some(4)
    on.put(a, token=("one", 5))
    same(on.put(b, token=("one", 9)), [b.id], "the same client's next put")
    same(on.put(c, token=("two", 1)), [c.id], "another client's put")
    same(on.put(d, token=("one", 8)), [d.id], "the same client's earlier put, tried again")
    same(sorted(ids(take_all(on.consumer(), 3))), sorted(ids([a, b, c])), "the jobs stored")
    check(on.broker.inspector.find([d.id]) == [None], "a put whose number is not above the last one stored was stored")
