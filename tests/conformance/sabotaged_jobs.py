"""Sabotages of the way of a job to its worker: put, order, receive."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

from msgspec import structs

from longboat.core.codec import encode_job
from longboat.core.job import Job, State, order_of
from longboat.errors import ConfigError, TooLarge
from tests.conformance.sabotage import around, assign, breaks, consumers

# --- put


@breaks("put_returns_the_new_ids_in_order")
def ids_are_returned_in_another_order(broker: Any) -> None:
    around(broker, "put", lambda put, jobs, **named: put(jobs, **named)[::-1])


@breaks("a_job_arrives_as_it_was_put")
def headers_are_dropped(broker: Any) -> None:
    around(broker._store, "add", lambda add, job, _, now: add(job, encode_job(structs.replace(job, headers={})), now))


@breaks("what_is_put_together_may_be_32_mb")
def a_big_put_is_cut_off(broker: Any) -> None:
    around(broker, "put", lambda put, jobs, **named: put(jobs[:20], **named) + [job.id for job in jobs[20:]])


@breaks("a_job_outlives_its_client")
def closing_forgets_the_jobs(broker: Any) -> None:
    around(broker, "close", lambda close: (broker.inspector.purge(list(State)), close()))


@breaks("closing_is_idempotent")
def a_second_close_fails(broker: Any) -> None:
    def change(consumer: Any) -> None:
        closes = itertools.count()

        def close(original: Any) -> None:
            original()
            if next(closes) == 1:
                raise AssertionError("closed twice")

        around(consumer, "close", close)

    consumers(broker, change)


@breaks("a_put_is_all_or_nothing")
def jobs_are_put_one_by_one(broker: Any) -> None:
    around(broker, "put", lambda put, jobs, **_: [new for job in jobs for new in put([job])])


@breaks("what_could_not_be_run_is_refused_at_the_put")
def bad_jobs_are_left_out(broker: Any) -> None:
    def can_be_run(job: Job) -> bool:
        try:
            return bool(encode_job(job))
        except (ConfigError, TooLarge):
            return False

    around(broker, "put", lambda put, jobs, **named: put([job for job in jobs if can_be_run(job)], **named))


@breaks("a_known_id_has_no_effect")
def known_ids_are_put_again(broker: Any) -> None:
    around(broker._store, "known", lambda *_: False)


@breaks("a_chosen_id_stays_known_after_its_job")
def chosen_ids_are_forgotten(broker: Any) -> None:
    around(broker._store, "delete", lambda delete, *args: (delete(*args), broker._store.memories.clear()))


@breaks("a_repeated_token_makes_no_second_job")
def tokens_are_ignored(broker: Any) -> None:
    around(broker._store, "repeated", lambda *_: False)


@breaks("a_token_names_one_put")
def only_the_very_same_token_is_known(broker: Any) -> None:
    seen = set()

    def repeated(_: Any, token: Any, __: float) -> bool:
        known = token in seen
        seen.add(token)
        return known

    around(broker._store, "repeated", repeated)


# --- order


@breaks("higher_priority_comes_first")
def lower_priority_comes_first(broker: Any) -> None:
    around(broker._store, "add", lambda add, job, *rest: add(structs.replace(job, priority=-job.priority), *rest))


@breaks("then_the_oldest_comes_first")
def the_newest_comes_first(broker: Any) -> None:
    broker._store.serials = itertools.count(0, -1)


@breaks("chosen_ids_are_ordered_like_others")
def chosen_ids_come_last(broker: Any) -> None:
    def add(original: Any, job: Any, *rest: Any) -> None:
        original(structs.replace(job, priority=-1) if order_of(job.id) is None else job, *rest)

    around(broker._store, "add", add)


def _lose_place(broker: Any, moment: str) -> None:
    def instead(original: Any, record: Any, *rest: Any) -> None:
        record.place = next(broker._store.serials)
        original(record, *rest)

    around(broker._store, moment, instead)


@breaks("a_delayed_job_keeps_its_place")
def a_delayed_job_loses_its_place(broker: Any) -> None:
    _lose_place(broker, "_fall_due")


@breaks("a_job_that_comes_back_keeps_its_place")
def a_job_that_comes_back_loses_its_place(broker: Any) -> None:
    _lose_place(broker, "come_back")


@breaks("queues_named_first_are_asked_first")
def queues_named_last_are_asked_first(broker: Any) -> None:
    consumers(broker, lambda consumer: around(consumer, "_queues", lambda queues: queues()[::-1]))


@breaks("a_consumer_gets_its_queues_only")
def consumers_get_every_queue(broker: Any) -> None:
    consumers(broker, lambda consumer: consumer._holder.queues.clear())


@breaks("a_consumer_without_queues_gets_every_queue")
def the_first_queue_starves_the_others(broker: Any) -> None:
    consumers(broker, lambda consumer: assign(consumer, "_turns", itertools.repeat(0)))


# --- receive


@breaks("never_before_its_time")
def delays_are_ignored(broker: Any) -> None:
    around(broker._store, "place", lambda place, record, _, now: place(record, 0.0, now))


@breaks("within_100_ms_of_its_time")
def delays_are_overdrawn(broker: Any) -> None:
    around(broker._store, "place", lambda place, record, delay, now: place(record, delay and delay + 0.2, now))


@breaks("a_delay_may_be_of_any_length")
def delays_are_counted_in_32_bits_of_milliseconds(broker: Any) -> None:
    around(broker._store, "place", lambda place, record, delay, now: place(record, delay % (2**32 / 1000), now))


def _receive(broker: Any, instead: Any) -> None:
    consumers(broker, lambda consumer: around(consumer, "receive", instead))


@breaks("consumers_that_wait_share")
def the_first_takes_all(broker: Any) -> None:
    broker._store.others = lambda *_, **__: 0


@breaks("a_put_wakes_a_waiting_receive")
def waking_is_slow(broker: Any) -> None:
    def receive(original: Any, n: int, wait: float) -> Any:
        leases = original(n, wait=wait)
        time.sleep(0.01)
        return leases

    _receive(broker, receive)


@breaks("receive_waits_as_long_as_it_is_told")
def receive_waits_half_as_long(broker: Any) -> None:
    _receive(broker, lambda receive, n, wait: receive(n, wait=wait / 2))


@breaks("waiting_costs_no_cpu")
def receive_polls(broker: Any) -> None:
    def receive(original: Any, n: int, wait: float) -> Any:
        end, spent = time.monotonic() + wait, time.process_time() + wait / 2
        # On a busy machine it gets little of the time.
        while not (leases := original(n, wait=0.0)) and (time.monotonic() < end or time.process_time() < spent):
            pass
        return leases

    _receive(broker, receive)


@breaks("receive_returns_at_once_with_what_there_is")
def receive_waits_for_all(broker: Any) -> None:
    def receive(original: Any, n: int, wait: float) -> Any:
        end = time.monotonic() + wait
        leases = original(n, wait=wait)
        while len(leases) < n and (left := end - time.monotonic()) > 0:
            leases += original(n - len(leases), wait=left)
        return leases

    _receive(broker, receive)


@breaks("receive_gives_no_more_than_asked_for")
def receive_gives_one_more(broker: Any) -> None:
    _receive(broker, lambda receive, n, wait: receive(n + 1, wait=wait))


@breaks("receive_loses_none_of_many")
def receive_loses_a_job_when_n_is_small(broker: Any) -> None:
    _receive(broker, lambda receive, n, wait: receive(n, wait=wait)[: 1 if n == 2 else n])


@breaks("a_job_is_leased_to_one_at_a_time", "every_job_ends_exactly_once")
def some_jobs_are_leased_twice(broker: Any) -> None:
    leases = itertools.count()

    def lease(original: Any, record: Any, holder: Any, now: float) -> None:
        original(record, holder, now)
        if next(leases) % 20 == 0:
            broker._store.move(record, State.READY)

    around(broker._store, "lease", lease)


@breaks("wake_ends_a_waiting_receive")
def wake_does_nothing(broker: Any) -> None:
    consumers(broker, lambda consumer: around(consumer, "wake", lambda _: None))


@breaks("wake_holds_for_the_next_receive")
def wake_holds_for_ever(broker: Any) -> None:
    def change(consumer: Any) -> None:
        def receive(original: Any, n: int, wait: float) -> Any:
            return original(n, wait=0.0 if hasattr(consumer, "woken") else wait)

        around(consumer, "wake", lambda wake: (assign(consumer, "woken", True), wake()))
        around(consumer, "receive", receive)

    consumers(broker, change)


@breaks("a_closed_consumer_receives_nothing")
def a_closed_consumer_goes_on(broker: Any) -> None:
    def change(consumer: Any) -> None:
        def close(original: Any) -> None:
            original()
            consumer._over = consumer._closed = False
            consumer._holder.alive = True

        around(consumer, "close", close)

    consumers(broker, change)


@breaks("consumers_have_ids_of_their_own")
def consumers_share_an_id(broker: Any) -> None:
    consumers(broker, lambda consumer: assign(consumer, "id", "worker-1"))


@breaks("an_expired_job_is_cancelled")
def expiry_is_ignored(broker: Any) -> None:
    around(broker._store, "add", lambda add, job, *rest: add(structs.replace(job, expires=None), *rest))


@breaks("what_has_started_does_not_expire")
def what_has_started_expires(broker: Any) -> None:
    def count_attempt(original: Any, record: Any, *rest: Any) -> None:
        expires = record.expires
        original(record, *rest)
        record.expires = expires

    around(broker._store, "count_attempt", count_attempt)


@breaks("what_comes_back_unstarted_expires")
def what_was_leased_never_expires(broker: Any) -> None:
    around(broker._store, "lease", lambda lease, record, *rest: (lease(record, *rest), assign(record, "expires", math.inf)))
