"""Sabotages of what is read of a broker and of an operator's changes: results, looks, cancel, retry, purge, prune."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from msgspec import structs

from longboat.core.job import Result, State
from longboat.core.views import Page
from tests.conformance.sabotage import around, assign, breaks, consumers, listeners, quietly

# --- results


@breaks("a_result_says_how_the_job_ended")
def results_have_no_failure(broker: Any) -> None:
    around(broker.results, "get", lambda get, ids: [r and structs.replace(r, failure=None) for r in get(ids)])


@breaks("there_is_no_result_before_the_end")
def every_known_job_has_a_result(broker: Any) -> None:
    def get(original: Any, ids: Any) -> Any:
        views = broker.inspector.find(ids)
        return [r or (v and Result(v.id, State.SUCCEEDED)) for r, v in zip(original(ids), views, strict=True)]

    around(broker.results, "get", get)


@breaks("a_result_is_kept_as_long_as_its_job_says")
def every_result_is_kept_an_hour(broker: Any) -> None:
    around(broker._store, "add", lambda add, job, *rest: (add(job, *rest), _keep(broker, job.id, 3600.0)))


def _keep(broker: Any, job_id: str, keep: float) -> Any:
    broker._store.jobs[job_id].keep = keep


@breaks("a_brief_result_is_there_in_its_time")
def results_are_pruned_too_early(broker: Any) -> None:
    around(broker._store, "prune", lambda prune, limit, now: prune(limit, now + 10))


@breaks("a_retried_job_has_no_result")
def results_outlive_a_revival(broker: Any) -> None:
    ended: dict[str, Result] = {}

    def end(original: Any, record: Any, *rest: Any) -> None:
        original(record, *rest)
        ended[record.id] = record.outcome()

    around(broker._store, "end", end)
    around(broker.results, "get", lambda _, ids: [ended.get(job_id) for job_id in ids])


@breaks("a_listener_is_told_of_each_end")
def only_success_is_told(broker: Any) -> None:
    def tell(original: Any, result: Result) -> None:
        if result.state is State.SUCCEEDED:
            original(result)

    listeners(broker, lambda listener: around(listener, "tell", tell))


@breaks("a_listener_is_told_of_what_ended_before")
def listeners_do_not_look_back(broker: Any) -> None:
    def change(listener: Any) -> None:
        def watch(_: Any, ids: Any) -> None:
            for job_id in ids:
                broker._store.watchers.setdefault(job_id, set()).add(listener)

        around(listener, "watch", watch)

    listeners(broker, change)


@breaks("a_result_is_told_once")
def results_are_told_twice(broker: Any) -> None:
    def change(listener: Any) -> None:
        def wait(original: Any, timeout: float) -> Any:
            results = original(timeout)
            listener._told = {result.id: result for result in results}
            listener._watched.update(listener._told)
            return results

        around(listener, "wait", wait)

    listeners(broker, change)


@breaks("every_listener_is_told")
def only_the_last_listener_is_told(broker: Any) -> None:
    made: list[Any] = []

    def change(listener: Any) -> None:
        def watch(original: Any, ids: Any) -> None:
            for other in made[:-1]:
                other.forget(ids)
            original(ids)

        made.append(listener)
        around(listener, "watch", watch)

    listeners(broker, change)


@breaks("what_is_forgotten_is_not_told")
def forget_does_nothing(broker: Any) -> None:
    listeners(broker, lambda listener: around(listener, "forget", lambda *_: None))


@breaks("a_result_is_told_within_5_ms")
def telling_is_slow(broker: Any) -> None:
    def wait(original: Any, timeout: float) -> Any:
        results = original(timeout)
        time.sleep(0.01)
        return results

    listeners(broker, lambda listener: around(listener, "wait", wait))


@breaks("the_end_after_a_retry_is_told")
def attempts_before_the_last_are_forgotten(broker: Any) -> None:
    def tell(original: Any, result: Result) -> None:
        original(structs.replace(result, attempts=1))

    listeners(broker, lambda listener: around(listener, "tell", tell))


@breaks("a_cancellation_is_told", "an_expiry_is_told")
def cancellations_are_not_told(broker: Any) -> None:
    def tell(original: Any, result: Result) -> None:
        if result.state is not State.CANCELLED:
            original(result)

    listeners(broker, lambda listener: around(listener, "tell", tell))


@breaks("a_listener_waits_as_long_as_it_is_told")
def listeners_wait_half_as_long(broker: Any) -> None:
    listeners(broker, lambda listener: around(listener, "wait", lambda wait, timeout: wait(timeout / 2)))


@breaks("wake_ends_a_listeners_wait")
def listeners_are_not_woken(broker: Any) -> None:
    listeners(broker, lambda listener: around(listener, "wake", lambda _: None))


@breaks("an_id_watched_during_a_wait_is_told")
def watching_wakes_nobody(broker: Any) -> None:
    def watch(original: Any, ids: Any) -> None:
        with quietly(broker):
            original(ids)

    listeners(broker, lambda listener: around(listener, "watch", watch))


# --- looks


@breaks("counts_are_exact")
def counts_are_off_by_one(broker: Any) -> None:
    around(broker.inspector, "counts", lambda counts: {place: n - (n > 3) for place, n in counts().items()})


@breaks("a_view_tells_all_of_a_job")
def views_name_no_worker(broker: Any) -> None:
    around(broker.inspector, "find", lambda find, ids: [v and structs.replace(v, worker=None) for v in find(ids)])


@breaks("a_view_tells_how_a_job_ended")
def views_hold_no_result(broker: Any) -> None:
    around(broker.inspector, "find", lambda find, ids: [v and structs.replace(v, result=None) for v in find(ids)])


@breaks(
    "ready_jobs_are_paged_as_they_will_be_received",
    "scheduled_jobs_are_paged_by_due_time",
    "running_and_waiting_jobs_are_paged_oldest_first",
    "ended_jobs_are_paged_newest_first",
)
def pages_are_read_backwards(broker: Any) -> None:
    def jobs(original: Any, state: State, **which: Any) -> Page:
        page: Page = original(state, **which)
        return Page(page.jobs[::-1], page.after)

    around(broker.inspector, "jobs", jobs)


@breaks("pages_of_one_task_hold_that_task_only")
def pages_are_of_every_task(broker: Any) -> None:
    around(broker.inspector, "jobs", lambda jobs, state, **which: jobs(state, **which | {"task": None}))


@breaks("a_page_goes_on_though_jobs_have_left")
def pages_go_on_by_number(broker: Any) -> None:
    def jobs(original: Any, state: State, after: str | None = None, limit: int = 100, **which: Any) -> Page:
        start = int(after or 0)
        views = original(state, limit=10**6, **which).jobs[start:]
        return Page(views[:limit], str(start + limit) if len(views) > limit else None)

    around(broker.inspector, "jobs", jobs)


@breaks("consumers_are_listed")
def the_evicted_are_listed(broker: Any) -> None:
    def evict(original: Any, holder: Any, *rest: Any) -> Any:
        count = original(holder, *rest)
        broker._store.holders[holder.id] = holder
        return count

    around(broker._store, "evict", evict)


# --- an operator's changes


@breaks("a_job_that_is_not_leased_is_cancelled_at_once")
def parked_jobs_cannot_be_cancelled(broker: Any) -> None:
    def cancel(original: Any, ids: Any) -> Any:
        views = broker.inspector.find(ids)
        return original([view.id for view in views if view and view.state is not State.WAITING])

    around(broker.inspector, "cancel", cancel)


@breaks("a_cancelled_job_is_received_by_nobody")
def cancelling_what_is_delayed_is_dropped(broker: Any) -> None:
    def cancel(original: Any, ids: Any) -> Any:
        original([each for each in ids if broker._store.jobs[each].state is State.READY])
        return ids

    around(broker.inspector, "cancel", cancel)


@breaks("a_running_jobs_cancellation_is_told", "a_cancellation_reaches_the_lease")
def cancelling_the_running_is_dropped(broker: Any) -> None:
    def cancel(original: Any, ids: Any) -> Any:
        cancelled = original(ids)
        for job_id in cancelled:
            broker._store.jobs[job_id].cancel_requested = False
        return cancelled

    around(broker.inspector, "cancel", cancel)


@breaks("a_cancellation_ends_a_waiting_receive")
def cancelling_ends_no_receive(broker: Any) -> None:
    def cancel(original: Any, ids: Any) -> Any:
        with broker._store.changed:
            cancelled = original(ids)
            for holder in broker._store.holders.values():
                holder.cancelled = 0
        return cancelled

    around(broker.inspector, "cancel", cancel)


@breaks("a_cancelled_job_settles_as_it_ends", "a_cancelled_jobs_worker_may_die")
def coming_back_forgets_the_cancellation(broker: Any) -> None:
    def come_back(original: Any, record: Any, *rest: Any) -> None:
        record.cancel_requested = False
        original(record, *rest)

    around(broker._store, "come_back", come_back)
    around(broker._store, "settle", come_back)


@breaks("what_has_ended_cannot_be_cancelled")
def cancel_claims_an_effect_on_all(broker: Any) -> None:
    around(broker.inspector, "cancel", lambda cancel, ids: (cancel(ids), list(ids))[1])


def _retry(broker: Any, keep: Any) -> None:
    """Retry, and then put back what `keep` remembers of each record."""

    def retry(original: Any, ids: Any) -> Any:
        with broker._store.changed:
            records = [broker._store.jobs[job_id] for job_id in ids]
            before = [structs_of(record) for record in records]
            retried = original(ids)
            for record, old in zip(records, before, strict=True):
                keep(record, old)
        return retried

    def structs_of(record: Any) -> dict[str, Any]:
        return {name: getattr(record, name) for name in ("attempts", "expires")}

    around(broker.inspector, "retry", retry)


@breaks("a_retried_job_starts_afresh")
def reviving_keeps_the_attempts(broker: Any) -> None:
    _retry(broker, lambda record, old: assign(record, "attempts", old["attempts"]))


@breaks("a_retried_job_does_not_expire")
def reviving_keeps_the_expiry(broker: Any) -> None:
    def keep(record: Any, old: dict[str, Any]) -> None:
        if old["expires"] < math.inf:
            record.expires = old["expires"]
            record.alarm = (record.expires, record.serial, record)
            broker._store.alarms.add(record.alarm)

    _retry(broker, keep)


@breaks("a_retry_by_an_operator_wakes_a_waiting_receive")
def reviving_wakes_nobody(broker: Any) -> None:
    def retry(original: Any, ids: Any) -> Any:
        with quietly(broker):
            return original(ids)

    around(broker.inspector, "retry", retry)


@breaks("only_dead_jobs_are_retried")
def everything_that_ended_is_revived(broker: Any) -> None:
    def retry(_: Any, ids: Any) -> Any:
        records = [record for job_id in ids if (record := broker._store.jobs.get(job_id)) and record.state.ended]
        with broker._store.changed:
            for record in records:
                broker._store.move(record, State.READY)
        return [record.id for record in records]

    around(broker.inspector, "retry", retry)


@breaks("purge_deletes_jobs_by_state_and_queue")
def purge_takes_every_queue(broker: Any) -> None:
    around(broker.inspector, "purge", lambda purge, states, **which: purge(states, **which | {"queue": None}))


@breaks("running_jobs_are_never_purged")
def the_running_are_purged(broker: Any) -> None:
    def purge(original: Any, states: Any, **which: Any) -> int:
        running = [record for record in list(broker._store.jobs.values()) if record.state is State.RUNNING]
        for record in running if State.RUNNING in states else ():
            broker._store.unlease(record)
            broker._store.delete(record, 0.0)
        return len(running) + int(original(states, **which))

    around(broker.inspector, "purge", purge)


@breaks("prune_deletes_what_is_over", "housekeeping_prunes")
def nothing_is_pruned(broker: Any) -> None:
    around(broker._store, "prune", lambda *_: 0)


@breaks("the_newest_of_very_many_ended_jobs_are_kept")
def ended_jobs_have_no_bound(broker: Any) -> None:
    around(broker._store, "_bound", lambda *_: None)


# --- many threads


@breaks("no_job_is_ever_out_of_sight")
def claiming_takes_two_steps(broker: Any) -> None:
    def change(consumer: Any) -> None:
        def receive(original: Any, n: int, wait: float) -> Any:
            with broker._store.changed:
                leases = original(n, wait=min(wait, 0.0))
                records = list(consumer._holder.held.values())
                for record in records:
                    broker._store.take(record)
            time.sleep(0.005)
            with broker._store.changed:
                for record in records:
                    broker._store.move(record, State.RUNNING)
            return leases

        around(consumer, "receive", receive)

    consumers(broker, change)


@breaks("one_consumer_serves_several_threads")
def receiving_locks_the_consumer(broker: Any) -> None:
    def change(consumer: Any) -> None:
        lock = threading.Lock()

        def locked(original: Any, *args: Any, **named: Any) -> Any:
            with lock:
                return original(*args, **named)

        around(consumer, "receive", locked)
        around(consumer, "settle", locked)

    consumers(broker, change)
