"""What a broker of messages alone cannot do, clause by clause, and the answer to who asks for it."""

# ruff: noqa: ARG002  # parameters of the contract that RabbitMQ has no use for

from __future__ import annotations

from collections.abc import Sequence

from longboat.contract.kv import Entry
from longboat.contract.results import Listener
from longboat.core.job import Result
from longboat.errors import Unsupported

KNOWN = {
    "a_chosen_id_stays_known_after_its_job",
    "a_known_id_has_no_effect",
    "a_repeated_token_makes_no_second_job",
    "a_token_names_one_put",
    "every_job_ends_exactly_once",
    "put_returns_the_new_ids_in_order",
}
"""Nothing is known of a message that was put before: ids and tokens of puts are not remembered."""

RESULTS = {
    "a_brief_result_is_there_in_its_time",
    "a_cancellation_is_told",
    "a_listener_is_told_of_each_end",
    "a_listener_is_told_of_what_ended_before",
    "a_listener_waits_as_long_as_it_is_told",
    "a_result_is_kept_as_long_as_its_job_says",
    "a_result_is_told_once",
    "a_result_is_told_within_5_ms",
    "a_result_says_how_the_job_ended",
    "a_revived_job_has_no_result",
    "closing_is_idempotent",
    "every_listener_is_told",
    "there_is_no_result_before_the_end",
    "wake_ends_a_listeners_wait",
    "what_is_forgotten_is_not_told",
    "who_watches_while_another_waits_is_told",
}
"""No results are kept, and nobody can wait for one."""

ORDER = {
    "a_delayed_job_keeps_its_place",
    "a_job_that_comes_back_keeps_its_place",
    "higher_priority_comes_first",
}
"""Priorities have five levels, and what was delayed, tried again or released stands behind the others of its level."""

EVERY = {
    "a_paused_queue_gives_nothing",
    "who_names_no_queue_gets_every_one_in_turn",
}
"""A server tells its clients of no queues, so a consumer names those it wants."""

PARKED = {
    "a_parked_job_is_dead_when_patience_is_over",
    "a_parked_job_ranks_by_its_priority",
    "a_parked_job_stays_in_its_queue",
    "a_parked_job_stays_parked_until_it_is_leased",
    "a_parked_job_waits_for_who_knows_its_task",
}
"""Parked jobs go round through a delay queue: whoever receives one that is not for it sends it on."""

RETURNS = {
    "a_closed_consumer_hands_back_at_once",
    "a_start_is_forgotten_with_its_lease",
    "an_evicted_consumers_jobs_come_back_at_once",
    "returns_are_counted_since_an_attempt_ended",
}
"""The server counts a close as a return like any other. And `evict` is for the dead: it does not end a consumer that lives,
and does not know how many messages the server itself took back from one that died."""

LOOKED_UP = {
    "a_cancellation_ends_a_waiting_receive",
    "a_cancelled_job_settles_as_it_ends",
    "a_cancelled_jobs_worker_may_die",
    "a_death_may_be_uncharged",
    "a_job_that_is_not_leased_is_cancelled_at_once",
    "a_lapsed_lease_is_charged_if_started",
    "a_page_goes_on_though_jobs_have_left",
    "a_refused_settlement_harms_no_neighbour",
    "a_revived_job_does_not_expire",
    "a_revived_job_starts_afresh",
    "a_running_jobs_cancellation_is_told",
    "a_settled_lease_is_not_charged_again",
    "a_stale_lease_settles_nothing",
    "a_view_tells_all_of_a_job",
    "a_view_tells_how_a_job_ended",
    "an_evict_charges_started_leases_only",
    "an_expired_job_is_cancelled",
    "an_older_lease_of_the_same_consumer_is_stale",
    "consumers_are_listed",
    "counts_are_exact",
    "done_retry_and_dead_are_charged",
    "ended_jobs_are_paged_newest_first",
    "evict_is_idempotent",
    "failures_are_kept_oldest_first",
    "no_job_is_ever_in_nobodys_hands",
    "one_consumer_serves_several_threads",
    "only_the_dead_are_revived",
    "outcomes_of_any_mixture_settle_together",
    "pages_of_one_task_hold_that_task_only",
    "prune_deletes_what_is_over",
    "purge_deletes_jobs_by_state_and_queue",
    "ready_jobs_are_paged_as_they_will_be_received",
    "reviving_wakes_a_waiting_receive",
    "running_and_waiting_jobs_are_paged_oldest_first",
    "running_jobs_are_never_purged",
    "scheduled_jobs_are_paged_by_due_time",
    "settling_again_is_refused_and_harmless",
    "the_newest_of_very_many_ended_jobs_are_kept",
    "what_comes_back_unstarted_expires",
    "what_has_ended_cannot_be_cancelled",
}
"""A queued or running message cannot be looked up, listed, cancelled, counted or purged by id or state; nothing is left of
it when it has ended. Of dead jobs only those of known queues. (What these clauses check otherwise, such as charges
and refused settlements, tests/faults/test_rabbitmq_holding.py checks without looking anything up.)"""

TIES = {
    "a_chain_goes_step_by_step",
    "a_dead_parent_leaves_its_followers_waiting",
    "a_follower_can_be_cancelled_and_expires",
    "a_follower_s_delay_counts_from_its_parents_end",
    "a_job_after_an_unknown_one_is_refused",
    "a_job_waits_for_its_parents",
    "a_lease_tells_the_results_of_the_parents",
    "a_parent_may_have_succeeded_before",
    "a_put_with_parents_can_be_tried_again",
    "a_view_tells_a_job_s_ties",
    "one_job_after_very_many",
    "results_of_parents_come_with_every_attempt",
    "the_parents_success_wakes_who_waits",
}
"""A message cannot wait for others."""

GATES = {
    "a_job_goes_by_its_own_numbers",
    "a_job_of_several_limits_needs_them_all",
    "a_lease_s_end_lets_the_next_in",
    "a_lease_s_end_wakes_who_waits",
    "a_limit_can_be_looked_at",
    "a_limit_holds_up_no_other_key",
    "a_limit_lets_so_many_be_leased",
    "a_limit_of_starts_opens_with_time",
    "a_limit_s_leases_come_back_with_their_worker",
    "keys_take_turns",
    "limits_hold_under_many_consumers",
    "room_that_nobody_took_is_given_on",
    "turns_go_within_a_priority",
    "what_a_limit_shut_out_can_be_cancelled",
}
"""The server pushes what is next: it knows no limits and no turns."""

NOTES = {
    "a_note_is_added_once",
    "a_note_is_forgotten_after_its_time",
    "a_note_is_written_over_and_deleted",
    "a_note_too_large_is_refused_with_all_beside_it",
    "a_swap_needs_the_value_as_it_was",
    "notes_are_paged_in_the_order_of_keys",
    "notes_are_read_by_every_client",
}
"""There is no place for notes."""

TRANSIT = {
    "a_limit_goes_with_its_job",
    "a_packed_id_is_remembered_and_may_come_back",
    "an_expiry_goes_with_its_job",
    "jobs_that_run_or_have_ended_are_not_packed",
    "jobs_tied_to_others_are_not_packed",
    "packed_jobs_leave_whole",
    "packing_keeps_to_its_room",
    "the_dead_are_unpacked_dead",
    "unpacked_jobs_are_as_they_were",
    "unpacking_again_makes_no_second_job",
    "unpacking_wakes_a_waiting_receive",
    "what_is_packed_stays_written_down",
}
"""What is queued cannot be taken out by its id, nor is anything remembered of what came in."""

MISSING = frozenset(KNOWN | RESULTS | ORDER | EVERY | PARKED | RETURNS | LOOKED_UP | TIES | GATES | NOTES | TRANSIT)


def unsupported(what: str) -> Unsupported:
    return Unsupported(f"{what}: RabbitMQ cannot do this. Brokers that can: Redis, PostgreSQL, SQLite")


class NoKV:
    """RabbitMQ has no place for notes."""

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        raise unsupported("reading a note")

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        raise unsupported("listing notes")

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        raise unsupported("writing a note")

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        raise unsupported("adding a note")

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        raise unsupported("swapping a note")


class NoResults:
    """RabbitMQ keeps no results."""

    def get(self, ids: Sequence[str]) -> list[Result | None]:
        raise unsupported("getting a result")

    def listen(self) -> Listener:
        raise unsupported("waiting for a result")
