"""Clauses about results: looked up and waited for."""

from __future__ import annotations

import time

from longboat.contract.broker import Settlement
from longboat.contract.capabilities import Capability
from longboat.contract.results import Listener
from longboat.core.job import Cancelled, Dead, Done, Outcome, Result, Retry, State
from longboat.core.reasons import CANCELLED
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import (
    BOOM,
    Stage,
    best,
    check,
    eventually,
    job,
    limits,
    meanwhile,
    same,
    settle,
    some,
    take,
    take_all,
    timed,
)

NEEDS = {Capability.REPLIES}
"""Of every clause here."""


def _told(listener: Listener, n: int) -> list[Result]:
    results: list[Result] = []
    end = time.monotonic() + limits.patient
    while len(results) < n and (left := end - time.monotonic()) > 0:
        results += listener.wait(left)
    return results


@clause(needs={Capability.RESULTS})
def a_result_says_how_the_job_ended(on: Stage) -> None:
    """A result holds the value of a success, the failure of a death or cancellation, the task and the attempts made."""
    done = on.ended(Done(b"value"), task="a")
    dead = on.ended(Dead(BOOM), task="b")
    cancelled = on.ended(Cancelled(BOOM), task="c")
    got = on.another().results.get([dead.id, done.id, cancelled.id])
    check(all(got), f"a result is missing: {got}")
    facts = [(r.id, r.state, r.value, r.failure, r.task) for r in got if r]
    wanted = [
        (dead.id, State.DEAD, None, BOOM, "b"),
        (done.id, State.SUCCEEDED, b"value", None, "a"),
        (cancelled.id, State.CANCELLED, None, BOOM, "c"),
    ]
    same(facts, wanted, "results")
    same([r.attempts for r in got[:2] if r], [1, 1], "attempts")


@clause(needs={Capability.RESULTS})
def there_is_no_result_before_the_end(on: Stage) -> None:
    """`get` gives None for a job that has not ended or is unknown, at its place among the others."""
    ended = on.ended(Done(b"x"))
    retried = on.ended(Retry(60.0, BOOM))
    on.put(waiting := job())
    got = on.broker.results.get([waiting.id, ended.id, "nobody", retried.id])
    same([bool(r) for r in got], [False, True, False, False], "which results there are")


@clause(needs={Capability.RESULTS})
def a_result_is_kept_as_long_as_its_job_says(on: Stage) -> None:
    """A success stays readable for `keep` seconds and is then pruned; keep=0 forgets it at once; dead jobs stay."""
    longer, briefly = on.ended(Done(b"x"), keep=60.0), on.ended(Done(b"x"), keep=0.4)
    at_once, dead = on.ended(Done(b"x"), keep=0.0), on.ended(Dead(BOOM), keep=0.0)
    all_four = [longer.id, briefly.id, at_once.id, dead.id]
    on.broker.inspector.prune()
    there = [bool(r) for r in on.broker.results.get(all_four)]
    same((there[0], there[2], there[3]), (True, False, True), "results there are at once, but for the brief one")
    time.sleep(0.45)
    on.broker.inspector.prune()
    same([bool(r) for r in on.broker.results.get(all_four)], [True, False, False, True], "results there are later")


@clause(needs={Capability.RESULTS})
def a_brief_result_is_there_in_its_time(on: Stage) -> None:
    """A result is not forgotten before its `keep` seconds are over, however often the store is pruned."""
    made = on.ended(Done(b"x"), keep=3.0)
    on.consumer().extend()
    on.broker.inspector.prune()
    check(on.broker.results.get([made.id])[0] is not None, "a result was forgotten before its time")


@clause(needs={Capability.RESULTS, Capability.DEAD_JOBS})
def a_retried_job_has_no_result(on: Stage) -> None:
    """Once a dead job is ready again it has not ended: `get` gives None until it ends anew."""
    dead = on.ended(Dead(BOOM))
    on.broker.inspector.retry([dead.id])
    same(on.broker.results.get([dead.id]), [None], "the result of a revived job")


@clause
def a_listener_is_told_of_each_end(on: Stage) -> None:
    """Who put jobs is told of those it watches as they succeed, die or are cancelled, by another client too: only those."""
    jobs = some(5)
    on.put(*jobs)
    listener = on.listener(*[each.id for each in jobs[:4]])
    consumer = on.consumer(of=on.another())
    leases = take_all(consumer, 5)
    outcomes: list[Outcome] = [Done(b"v"), Dead(BOOM), Cancelled(BOOM), Retry(60.0, BOOM), Done(b"unwatched")]
    consumer.settle([Settlement(lease, outcome) for lease, outcome in zip(leases, outcomes, strict=True)])
    results = {result.id: result for result in _told(listener, 3) + listener.wait(0.1)}
    wanted = {jobs[0].id: State.SUCCEEDED, jobs[1].id: State.DEAD, jobs[2].id: State.CANCELLED}
    same({each: result.state for each, result in results.items()}, wanted, "results told")
    same(results[jobs[0].id].value, b"v", "the value told")
    same(results[jobs[1].id].failure, BOOM, "the failure told")


@clause
def a_listener_is_told_of_what_ended_before(on: Stage) -> None:
    """The next wait tells of a job that had ended before it was watched."""
    done = on.ended(Done(b"v"))
    same([result.id for result in _told(on.listener(done.id), 1)], [done.id], "results told")


@clause
def the_end_after_a_retry_is_told(on: Stage) -> None:
    """A job that was tried again is told of when it ends, with the attempts made, and not before."""
    on.put(made := job())
    listener = on.listener(made.id)
    consumer = on.consumer()
    settle(consumer, take(consumer), Retry(0.0, BOOM))
    same(listener.wait(0.05), [], "told of a job that is tried again")
    settle(consumer, take(consumer), Done(b"v"))
    same([(r.value, r.attempts) for r in _told(listener, 1)], [(b"v", 2)], "told at its end")


@clause(needs={Capability.EXPIRY})
def an_expiry_is_told(on: Stage) -> None:
    """Who watches a job is told when it expires, once a worker is there."""
    on.put(made := job(expires=0.2))
    listener = on.listener(made.id)
    consumer = on.consumer()
    time.sleep(0.2)
    found: list[Result] = []

    def told() -> bool:
        for lease in consumer.receive(1, wait=0.0):
            raise AssertionError(f"an expired job was received: {lease}")
        consumer.extend()
        found.extend(listener.wait(0.02))
        return bool(found)

    eventually(told, "who watches an expired job is told")
    same([(r.id, r.state) for r in found], [(made.id, State.CANCELLED)], "told")


@clause
def a_result_is_told_once(on: Stage) -> None:
    """A watched id is given once and then watched no longer, until it is watched again."""
    made = job()
    on.put(made)
    listener = on.listener(made.id, made.id)
    consumer = on.consumer()
    settle(consumer, take(consumer))
    same(len(_told(listener, 1)), 1, "results told")
    same(listener.wait(0.2), [], "results told then")
    listener.watch([made.id])
    same(len(_told(listener, 1)), 1, "results told when watched again")


@clause(needs={Capability.RESULTS})
def every_listener_is_told(on: Stage) -> None:
    """Each of several listeners that watch a job is told of its end."""
    made = job()
    on.put(made)
    listeners = [on.listener(made.id), on.listener(made.id), on.listener(made.id, of=on.another())]
    consumer = on.consumer()
    settle(consumer, take(consumer))
    same([len(_told(each, 1)) for each in listeners], [1, 1, 1], "results told to each")


@clause
def what_is_forgotten_is_not_told(on: Stage) -> None:
    """After `forget`, a wait does not tell that result but tells the others, whether the job has ended or not."""
    before = on.ended(Done(b""))
    jobs = some(2)
    on.put(*jobs)
    listener = on.listener(before.id, jobs[0].id, jobs[1].id)
    listener.forget([before.id, jobs[0].id])
    consumer = on.consumer()
    for lease in take_all(consumer, 2):
        settle(consumer, lease)
    told = _told(listener, 1) + listener.wait(0.1)
    same([result.id for result in told], [jobs[1].id], "results told")


@clause(needs={Capability.PUSH})
def a_result_is_told_within_5_ms(on: Stage) -> None:
    """A wait returns within 5 ms of the return of the settle, by another client too."""
    listener = on.listener()
    consumer = on.consumer(of=on.another())

    def lateness() -> float:
        made = job()
        on.put(made)
        lease = take(consumer)
        listener.watch([made.id])
        waiting = meanwhile(lambda: timed(lambda: _told(listener, 1)))
        time.sleep(0.03)
        settle(consumer, lease)
        settled = time.monotonic()
        told, at = waiting()
        same(len(told), 1, "results told")
        return at - settled

    best(20, lateness, 0.005, "from a settle to its waiting listener")


@clause(needs={Capability.CANCEL})
def a_cancellation_is_told(on: Stage) -> None:
    """A listener is told when an operator cancels a job, without asking."""
    on.put(unwanted := job())
    listener = on.listener(unwanted.id)
    on.broker.inspector.cancel([unwanted.id])
    told = _told(listener, 1)
    same([(r.id, r.failure.type if r.failure else "") for r in told], [(unwanted.id, CANCELLED)], "told")


@clause
def a_listener_waits_as_long_as_it_is_told(on: Stage) -> None:
    """With nothing to tell, a wait returns [] when its time is over and not before."""
    on.put(waiting := job())
    listener = on.listener(waiting.id)
    for timeout in (0.0, 0.3):
        began = time.monotonic()
        same(listener.wait(timeout), [], "results told")
        took = time.monotonic() - began
        check(timeout - 0.001 <= took < timeout + limits.prompt, f"a wait of {timeout} returned after {took:.3f} s")


@clause
def wake_ends_a_listeners_wait(on: Stage) -> None:
    """`wake` makes the current wait, or the next one, return promptly."""
    on.put(unending := job())
    listener = on.listener(unending.id)
    began = time.monotonic()
    waiting = meanwhile(lambda: listener.wait(limits.wait))
    time.sleep(0.05)
    listener.wake()
    same(waiting(), [], "told to who was woken")
    listener.wake()
    same(listener.wait(limits.wait), [], "told after a wake")
    check(time.monotonic() - began < limits.prompt, "a wait went on after wake")


@clause
def an_id_watched_during_a_wait_is_told(on: Stage) -> None:
    """An id that another thread watches during a wait counts for that wait, whether its job has ended already or not."""
    ended = on.ended(Done(b""))
    listener = on.listener()
    waiting = meanwhile(lambda: timed(lambda: _told(listener, 1)))
    time.sleep(0.05)
    listener.watch([ended.id])
    watched = time.monotonic()
    results, at = waiting()
    same([result.id for result in results], [ended.id], "told to who waited already")
    check(at - watched < limits.prompt, "who waited was not woken")
