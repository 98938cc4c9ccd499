"""Sabotages of what holds jobs back: parents, limits, turns, pauses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from msgspec import structs

from longboat.brokers.memory.record import UNCONSTRAINED
from longboat.brokers.memory.usage import LimitUsage
from longboat.core.constraints import JobLimit
from longboat.core.job import Release, State
from longboat.errors import UnknownParent
from tests.conformance.sabotage import around, assign, breaks, consumers, listeners, quietly

# --- after


def _tie(broker: Any, change: Callable[[Any], Any]) -> None:
    """Do this to every new job once its constraints are applied."""
    around(broker._store.constraints, "apply", lambda apply, record: (apply(record), change(record)))


def _inputs(broker: Any, change: Callable[[list[bytes]], list[bytes]]) -> None:
    def claim(original: Any, *args: Any) -> Any:
        return [structs.replace(lease, inputs=change(lease.inputs)) for lease in original(*args)]

    consumers(broker, lambda consumer: around(consumer, "_claim", claim))


@breaks("a_job_waits_for_its_parents")
def only_the_first_parent_is_waited_for(broker: Any) -> None:
    def change(record: Any) -> None:
        for parent in sorted(record.pending or ())[1:]:
            record.pending.remove(parent)
            record.inputs[parent] = b""
            broker._store.constraints._followers.pop(parent)

    _tie(broker, change)


@breaks("a_lease_tells_the_results_of_the_parents")
def each_parent_gives_its_result_once(broker: Any) -> None:
    _inputs(broker, lambda inputs: list(dict.fromkeys(inputs)))


@breaks("results_of_parents_come_with_every_attempt", "results_of_parents_outlive_a_worker")
def results_of_parents_come_once(broker: Any) -> None:
    def come_back(original: Any, record: Any, *rest: Any) -> None:
        record.inputs = dict.fromkeys(record.inputs or (), b"")
        original(record, *rest)

    around(broker._store, "come_back", come_back)


@breaks("a_parent_may_have_succeeded_before")
def earlier_results_are_not_told(broker: Any) -> None:
    _tie(broker, lambda record: assign(record, "inputs", dict.fromkeys(record.inputs or (), b"")))


@breaks("a_job_after_an_unknown_one_is_refused")
def a_refused_put_uses_up_its_token(broker: Any) -> None:
    def put(original: Any, jobs: Any, token: Any = None) -> Any:
        try:
            return original(jobs, token=token)
        except UnknownParent:
            with broker._store.locked() as now:
                broker._store.remember(token, now)
            raise

    around(broker, "put", put)


@breaks("a_put_with_parents_can_be_tried_again")
def parents_are_looked_for_before_the_token(broker: Any) -> None:
    def put(original: Any, jobs: Any, token: Any = None) -> Any:
        with broker._store.locked() as now:
            broker._store.constraints.check_parents(jobs, now)
        return original(jobs, token=token)

    around(broker, "put", put)


@breaks("a_dead_parent_leaves_its_followers_waiting", "a_dead_job_holds_up_its_chain")
def what_ends_badly_takes_its_followers_along(broker: Any) -> None:
    def ended(original: Any, record: Any, now: float) -> None:
        if record.state is not State.SUCCEEDED:
            for follower in list(broker._store.constraints._followers.get(record.id, ())):
                broker._store.cancel(follower, now)
        original(record, now)

    around(broker._store.constraints, "ended", ended)


@breaks("a_follower_s_delay_counts_from_its_parents_end")
def followers_have_no_delay(broker: Any) -> None:
    _tie(broker, lambda record: assign(record, "delay", 0.0))


@breaks("a_follower_can_be_cancelled_and_expires")
def followers_never_expire(broker: Any) -> None:
    _tie(broker, lambda record: record.pending and assign(record, "expires", math.inf))


@breaks("the_parents_success_wakes_a_waiting_receive")
def followers_wake_nobody(broker: Any) -> None:
    def ended(original: Any, record: Any, now: float) -> None:
        with quietly(broker):
            original(record, now)

    around(broker._store.constraints, "ended", ended)


@breaks("one_job_after_very_many")
def a_thousand_results_are_told(broker: Any) -> None:
    _inputs(broker, lambda inputs: inputs[:1000])


@breaks("a_chain_goes_step_by_step")
def results_are_handed_on_and_on(broker: Any) -> None:
    def ended(original: Any, record: Any, now: float) -> None:
        record.result = b"".join((record.inputs or {}).values()) + (record.result or b"")
        original(record, now)

    around(broker._store.constraints, "ended", ended)


@breaks("a_step_is_as_it_was_put")
def steps_are_given_no_result(broker: Any) -> None:
    _inputs(broker, lambda inputs: [b"" for _ in inputs])


@breaks("several_may_come_after_one")
def one_step_is_let_in(broker: Any) -> None:
    def ended(original: Any, record: Any, now: float) -> None:
        del broker._store.constraints._followers.get(record.id, [])[1:]
        original(record, now)

    around(broker._store.constraints, "ended", ended)


@breaks("the_last_result_of_a_chain_is_told")
def results_of_steps_are_told_to_nobody(broker: Any) -> None:
    listeners(broker, lambda listener: around(listener, "watch", lambda *_: None))


@breaks("a_view_has_the_constraints")
def views_have_no_headers(broker: Any) -> None:
    around(broker.inspector, "find", lambda find, ids: [view and structs.replace(view, headers={}) for view in find(ids)])


# --- limits


def _limits(broker: Any, change: Callable[[list[JobLimit]], list[JobLimit]]) -> None:
    """Every new job has other limits than it says."""

    def apply(original: Any, record: Any) -> None:
        if record.constraints.limits:
            record.constraints = structs.replace(record.constraints, limits=change(record.constraints.limits))
        original(record)

    around(broker._store.constraints, "apply", apply)


def _doorways(broker: Any, kind: type[LimitUsage]) -> None:
    """Every limit is of this kind."""

    def keep_out(original: Any, record: Any, now: float) -> Any:
        for limit in record.constraints.limits:
            broker._store.constraints.usages.setdefault(limit.key, kind(limit.key))
        return original(record, now)

    around(broker._store.constraints, "block", keep_out)


@breaks("a_limit_bounds_the_leases_of_its_key")
def a_limit_lets_in_one_more(broker: Any) -> None:
    _limits(broker, lambda limits: [structs.replace(limit, running=limit.running + 1) for limit in limits])  # type: ignore[operator]  # all of these limits have a number


@breaks("a_lease_s_end_unblocks_the_next")
def the_last_of_the_line_is_let_in(broker: Any) -> None:
    class Backwards(LimitUsage):
        def first(self, head: Any, room: float) -> list[Any]:
            return super().first(head, math.inf)[::-1][: int(room)] if room else []

    _doorways(broker, Backwards)


@breaks("a_lease_s_end_wakes_a_waiting_receive")
def who_is_let_in_wakes_nobody(broker: Any) -> None:
    def leave(original: Any, record: Any) -> None:
        with quietly(broker):
            original(record)

    around(broker._store.constraints, "leave", leave)


@breaks("a_limit_holds_up_no_other_key")
def keys_are_told_apart_by_their_first_letter(broker: Any) -> None:
    _limits(broker, lambda limits: [structs.replace(limit, key=limit.key[0]) for limit in limits])


@breaks("a_job_handed_back_with_limits_has_these")
def a_job_handed_back_keeps_its_own_limits(broker: Any) -> None:
    def settle(original: Any, record: Any, outcome: Any, now: float) -> None:
        original(record, Release() if isinstance(outcome, Release) else outcome, now)

    around(broker._store, "settle", settle)


@breaks("a_job_of_several_limits_needs_them_all")
def only_the_first_gate_counts(broker: Any) -> None:
    _limits(broker, lambda limits: limits[:1])


@breaks("a_limit_s_leases_come_back_with_their_worker")
def the_dead_are_counted(broker: Any) -> None:
    def evict(original: Any, holder: Any, *rest: Any) -> Any:
        lost = list(holder.held.items())
        evicted = original(holder, *rest)
        for token, record in lost:
            for limit in record.constraints.limits:
                broker._store.constraints.usages.setdefault(limit.key, LimitUsage(limit.key)).held[-token] = record
        return evicted

    around(broker._store, "evict", evict)


@breaks("a_rate_limit_unblocks_with_time")
def starts_count_for_half_the_time(broker: Any) -> None:
    _limits(broker, lambda limits: [structs.replace(limit, per=limit.per / 2) for limit in limits])


@breaks("a_blocked_job_can_be_cancelled")
def what_is_shut_out_is_not_cancelled(broker: Any) -> None:
    jobs = broker._store.jobs
    around(broker.inspector, "cancel", lambda cancel, ids: cancel([each for each in ids if not jobs[each].blocked]))


@breaks("room_that_nobody_took_is_given_to_the_next")
def room_that_nobody_took_is_lost(broker: Any) -> None:
    def untie(original: Any, record: Any) -> None:
        constraints, record.constraints = record.constraints, UNCONSTRAINED
        original(record)
        record.constraints = constraints

    around(broker._store.constraints, "drop", untie)
    around(broker._store.constraints, "tidy", lambda *_: None)


@breaks("a_job_goes_by_its_own_limits")
def all_go_by_the_numbers_of_the_first(broker: Any) -> None:
    class First(LimitUsage):
        limit: JobLimit | None = None

        def room(self, limit: JobLimit, now: float) -> float:
            self.limit = self.limit or limit
            return super().room(self.limit, now)

    _doorways(broker, First)


@breaks("a_limit_goes_by_its_present_numbers")
def limits_are_frozen_into_jobs(broker: Any) -> None:
    assign(broker._store.constraints, "_limits", lambda record: record.constraints.limits)


@breaks("limits_hold_under_many_consumers")
def a_limit_lets_in_one_more_now_and_then(broker: Any) -> None:
    class Careless(LimitUsage):
        def room(self, limit: JobLimit, now: float) -> float:
            return super().room(limit, now) or next(looks) % 3 == 0

    looks = itertools.count(1)
    _doorways(broker, Careless)


@breaks("a_limit_can_be_looked_at")
def those_shut_out_are_not_told(broker: Any) -> None:
    around(
        broker.inspector, "limits", lambda limits, keys: [each and structs.replace(each, waiting=0) for each in limits(keys)]
    )


# --- turns, pauses


@breaks("fairness_keys_alternate")
def all_go_by_age(broker: Any) -> None:
    around(broker._store.constraints, "_fair_place", lambda _, record: record.serial)


@breaks("fairness_holds_within_a_priority")
def turns_go_before_priority(broker: Any) -> None:
    def apply(original: Any, record: Any) -> None:
        record.priority = 0 if record.constraints.fairness_key else record.priority
        original(record)

    around(broker._store.constraints, "apply", apply)


@breaks("a_paused_queue_gives_nothing")
def only_those_that_name_queues_pause(broker: Any) -> None:
    def pause(consumer: Any) -> None:
        if not consumer._holder.queues:
            around(consumer, "pause", lambda *_: None)

    consumers(broker, pause)


@breaks("parked_jobs_of_a_paused_task_stay")
def tasks_are_not_paused(broker: Any) -> None:
    consumers(broker, lambda consumer: around(consumer, "pause", lambda pause, queues, _: pause(queues, [])))
