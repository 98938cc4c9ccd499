"""What the companion cannot do over any carrier, clause by clause."""

from __future__ import annotations

from longboat.errors import Unsupported

LIMITS = {
    "a_job_goes_by_its_own_numbers",
    "a_job_of_several_limits_needs_them_all",
    "a_lease_s_end_lets_the_next_in",
    "a_lease_s_end_wakes_who_waits",
    "a_limit_can_be_looked_at",
    "a_limit_goes_with_its_job",
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
"""The carrier pushes what is next: limits and turns would have to be judged there."""

PAGES = {
    "the_newest_of_very_many_ended_jobs_are_kept",
}

PARKED = {
    "a_parked_job_stays_parked_until_it_is_leased",
    "a_parked_job_stays_in_its_queue",
    "a_parked_job_ranks_by_its_priority",
}
"""Parked jobs go round: whoever receives one that is not for it sends it on, for a second."""

MISSING = frozenset(LIMITS | PAGES | PARKED)


def unsupported(carrier: str, what: str) -> Unsupported:
    return Unsupported(f"{what}: {carrier} cannot do this. Brokers that can: Redis, PostgreSQL, SQLite")
