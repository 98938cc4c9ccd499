"""Sabotages of what becomes of a lease: settle, leases, attempts, bad input, parking."""

from __future__ import annotations

import math
from typing import Any

from msgspec import structs

from longboat.core.job import Done, Park, Release, State
from longboat.core.reasons import CANCELLED, EXPIRED, UNDECODABLE
from tests.conformance.sabotage import around, assign, breaks, consumers, quietly

# --- settle


def _settle(broker: Any, instead: Any) -> None:
    def change(consumer: Any) -> None:
        around(
            consumer,
            "settle",
            lambda settle, settlements, started=(): instead(consumer, settle, settlements, started),
        )

    consumers(broker, change)


@breaks("outcomes_of_any_mixture_settle_together")
def only_the_first_is_settled(broker: Any) -> None:
    _settle(broker, lambda _, settle, settlements, started: settle(settlements[:1], started=started))


@breaks("a_retry_comes_back_after_its_delay", "a_release_comes_back_after_its_delay")
def what_comes_back_has_no_delay(broker: Any) -> None:
    around(broker._store, "come_back", lambda come_back, record, _, now: come_back(record, 0.0, now))


@breaks("what_ended_is_not_received_again")
def the_cancelled_are_received_again(broker: Any) -> None:
    def end(original: Any, record: Any, state: State, *rest: Any) -> None:
        original(record, state, *rest)
        if state is State.CANCELLED:
            broker._store.move(record, State.READY)

    around(broker._store, "end", end)


@breaks("settling_again_is_refused_and_harmless")
def refusals_are_not_told(broker: Any) -> None:
    _settle(broker, lambda _, settle, settlements, started: settle(settlements, started=started)[:0])


@breaks(
    "a_stale_lease_settles_nothing",
    "an_older_lease_of_the_same_consumer_is_stale",
    "a_lease_settles_for_its_consumer_only",
)
def there_is_no_fence(broker: Any) -> None:
    def settle(consumer: Any, original: Any, settlements: Any, started: Any) -> Any:
        for lease in [*started, *(settlement.lease for settlement in settlements)]:
            record = broker._store.jobs.get(lease.job.id)
            if record and not record.state.ended:
                consumer._holder.held[lease.token] = record
        return original(settlements, started=started)

    _settle(broker, settle)


@breaks("a_refused_settlement_harms_no_neighbour")
def one_refusal_refuses_all(broker: Any) -> None:
    def settle(consumer: Any, original: Any, settlements: Any, started: Any) -> Any:
        refused = [each.lease for each in settlements if each.lease.token not in consumer._holder.held]
        return refused or original(settlements, started=started)

    _settle(broker, settle)


# --- leases


@breaks("a_job_runs_as_long_as_its_worker_lives")
def heartbeats_do_not_count(broker: Any) -> None:
    def change(consumer: Any) -> None:
        deadline = consumer._holder.deadline
        around(consumer, "extend", lambda extend: (extend(), assign(consumer._holder, "deadline", deadline))[0])

    consumers(broker, change)


@breaks("a_dead_workers_jobs_come_back")
def leases_never_end(broker: Any) -> None:
    around(broker._store, "_lapse", lambda *_: None)


@breaks("a_lost_consumer_is_told")
def the_lost_are_told_that_they_live(broker: Any) -> None:
    consumers(broker, lambda consumer: around(consumer, "extend", lambda extend: structs.replace(extend(), alive=True)))


@breaks("a_closed_consumer_hands_back_at_once")
def closing_hands_nothing_back(broker: Any) -> None:
    def change(consumer: Any) -> None:
        around(consumer, "close", lambda _: assign(consumer._holder, "alive", False))

    consumers(broker, change)


@breaks("an_evicted_consumers_jobs_come_back_at_once")
def evict_does_nothing(broker: Any) -> None:
    around(broker, "evict", lambda *_: 0)


@breaks("evict_is_idempotent")
def an_evict_always_finds_something(broker: Any) -> None:
    around(broker, "evict", lambda evict, *args: max(1, evict(*args)))


# --- attempts


@breaks("attempts_count_from_one")
def attempts_count_from_zero(broker: Any) -> None:
    def claim(original: Any, *args: Any) -> Any:
        return [structs.replace(lease, attempt=lease.attempt - 1) for lease in original(*args)]

    consumers(broker, lambda consumer: around(consumer, "_claim", claim))


@breaks("done_retry_and_dead_count_as_attempts")
def success_is_free(broker: Any) -> None:
    def settle(original: Any, record: Any, outcome: Any, now: float) -> None:
        original(record, outcome, now)
        record.attempts -= isinstance(outcome, Done)

    around(broker._store, "settle", settle)


@breaks("release_and_park_count_no_attempt")
def release_is_charged(broker: Any) -> None:
    def apply(original: Any, record: Any, outcome: Any, now: float) -> None:
        if isinstance(outcome, Release):
            broker._store.count_attempt(record)
        original(record, outcome, now)

    around(broker._store, "settle", apply)


def _note_all(broker: Any, noted: bool) -> None:
    def evict(original: Any, holder: Any, *rest: Any) -> Any:
        for record in holder.held.values():
            record.has_started = noted
        return original(holder, *rest)

    around(broker._store, "evict", evict)


@breaks("an_evict_counts_started_leases_only")
def unstarted_leases_are_charged(broker: Any) -> None:
    _note_all(broker, True)


@breaks("a_lapsed_lease_counts_if_it_had_started")
def started_leases_are_not_charged(broker: Any) -> None:
    _note_all(broker, False)


@breaks("a_settled_lease_counts_once")
def settled_leases_are_still_held(broker: Any) -> None:
    around(broker._store, "unlease", lambda _, record: assign(record, "holder", None))


@breaks("a_start_is_forgotten_with_its_lease")
def a_start_is_remembered(broker: Any) -> None:
    def lease(original: Any, record: Any, *rest: Any) -> None:
        noted = record.has_started
        original(record, *rest)
        record.has_started = noted

    around(broker._store, "lease", lease)


@breaks("worker_deaths_count_since_an_attempt_ended")
def returns_are_not_counted(broker: Any) -> None:
    def come_back(original: Any, record: Any, *rest: Any) -> None:
        record.worker_deaths = 0
        original(record, *rest)

    around(broker._store, "come_back", come_back)


@breaks("a_death_may_count_no_attempt")
def every_death_is_charged(broker: Any) -> None:
    def end(original: Any, record: Any, state: Any, *rest: Any) -> None:
        if state is State.DEAD and record.attempts == 0:
            record.attempts = 1
        original(record, state, *rest)

    around(broker._store, "end", end)


@breaks("failures_are_kept_oldest_first")
def failures_are_kept_newest_first(broker: Any) -> None:
    around(
        broker._store,
        "count_attempt",
        lambda count_attempt, record, *rest: (count_attempt(record, *rest), record.failures.reverse()),
    )


# --- bad input, parking


@breaks("undecodable_bytes_become_dead", "a_message_of_another_version_becomes_dead", "what_could_not_be_run_becomes_dead")
def bad_input_is_dropped(broker: Any) -> None:
    def end(original: Any, record: Any, state: State, now: float, *failure: Any) -> None:
        original(record, state, now, *failure)
        if failure and failure[0].type == UNDECODABLE:
            broker._store.delete(record, now)

    around(broker._store, "end", end)


@breaks("neighbours_of_bad_input_are_received")
def bad_input_takes_its_neighbours_along(broker: Any) -> None:
    def end(original: Any, record: Any, state: State, now: float, *failure: Any) -> None:
        original(record, state, now, *failure)
        if failure and failure[0].type == UNDECODABLE:
            broker.inspector.purge([State.READY])

    around(broker._store, "end", end)


# --- reasons


def _reworded(broker: Any, kind: str, **words: Any) -> None:
    """Failures of this type that the broker records itself read otherwise."""

    def end(original: Any, record: Any, state: State, now: float, *failures: Any) -> None:
        original(record, state, now, *(structs.replace(each, **words) if each.type == kind else each for each in failures))

    around(broker._store, "end", end)


@breaks("an_expiry_reads_as_everywhere")
def an_expiry_has_other_words(broker: Any) -> None:
    _reworded(broker, EXPIRED, message="too late")


@breaks("a_cancellation_reads_as_everywhere")
def a_cancellation_forgets_the_attempts(broker: Any) -> None:
    _reworded(broker, CANCELLED, attempt=0)


@breaks("a_leased_jobs_cancellation_reads_as_everywhere")
def a_cancellation_has_other_words(broker: Any) -> None:
    _reworded(broker, CANCELLED, message="somebody did not want it")


@breaks("a_workers_death_reads_as_everywhere")
def a_death_does_not_name_the_worker(broker: Any) -> None:
    def evict(original: Any, holder: Any, failure: Any, now: float) -> Any:
        return original(holder, failure and structs.replace(failure, worker=""), now)

    around(broker._store, "evict", evict)


@breaks("an_undecodable_message_reads_as_everywhere")
def bad_input_is_not_explained(broker: Any) -> None:
    _reworded(broker, UNDECODABLE, message="it cannot be decoded")


@breaks("a_parked_job_waits_for_a_consumer_that_knows_its_task")
def parked_jobs_are_handed_to_anybody(broker: Any) -> None:
    def apply(original: Any, record: Any, outcome: Any, now: float) -> None:
        original(record, Release() if isinstance(outcome, Park) else outcome, now)

    around(broker._store, "settle", apply)


@breaks("parking_wakes_a_consumer_that_knows_the_task")
def settling_wakes_nobody(broker: Any) -> None:
    def settle(_: Any, original: Any, settlements: Any, started: Any) -> Any:
        with quietly(broker):
            return original(settlements, started=started)

    _settle(broker, settle)


@breaks("a_parked_job_stays_in_its_queue")
def parked_jobs_leave_their_queue(broker: Any) -> None:
    def change(consumer: Any) -> None:
        def following(original: Any, queue: str) -> Any:
            parked = [shelf.first()[-1] for (_, task), shelf in broker._store.parked.items() if task in tasks]
            return original(queue) or (parked[0] if parked else None)

        tasks = consumer._holder.tasks
        around(consumer, "_next", following)

    consumers(broker, change)


@breaks("a_parked_job_is_dead_when_patience_is_over")
def patience_is_endless(broker: Any) -> None:
    def move(original: Any, record: Any, state: State) -> None:
        if state is State.WAITING:
            record.due = math.inf
        original(record, state)

    around(broker._store, "move", move)


@breaks("a_parked_job_ranks_by_its_priority")
def a_parked_job_loses_its_place(broker: Any) -> None:
    def apply(original: Any, record: Any, outcome: Any, now: float) -> None:
        if isinstance(outcome, Park):
            record.place = next(broker._store.serials) + 10**6
        original(record, outcome, now)

    around(broker._store, "settle", apply)


@breaks("a_parked_job_stays_parked_until_it_is_leased")
def parked_jobs_are_ready_for_all_once_somebody_asks(broker: Any) -> None:
    def receive(original: Any, n: int, wait: float) -> Any:
        leases = original(n, wait=wait)
        with broker._store.changed:
            for record in list(broker._store.jobs.values()):
                if record.state is State.WAITING and record.task in consumers_tasks:
                    broker._store.move(record, State.READY)
        return leases

    consumers_tasks: set[str] = set()

    def change(consumer: Any) -> None:
        consumers_tasks.update(consumer._holder.tasks)
        around(consumer, "receive", receive)

    consumers(broker, change)
