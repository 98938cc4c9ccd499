"""What cannot be kept with a store beside the server either, clause by clause."""

from __future__ import annotations

from longboat.brokers.rabbitmq.missing import GATES

PLACES = {
    "a_delayed_job_keeps_its_place",
    "a_job_that_comes_back_keeps_its_place",
    "a_parked_job_ranks_by_its_priority",
    "a_parked_job_stays_parked_until_it_is_leased",
    "an_evict_charges_started_leases_only",
    "higher_priority_comes_first",
}
"""Order is the server's: priorities have five levels, and what was delayed, tried again, parked or released stands behind
the others of its level. (An evict charges those that had started and no others; its clause also wants retries in order.)"""

EVERY_QUEUE = {
    "a_parked_job_stays_in_its_queue",
    "a_paused_queue_gives_nothing",
    "consumers_are_listed",
    "who_names_no_queue_gets_every_one_in_turn",
}
"""A server tells its clients of no queues, so a consumer names those it wants, in these clauses too."""

PAGES = {
    "a_page_goes_on_though_jobs_have_left",
    "counts_are_exact",
    "ended_jobs_are_paged_newest_first",
    "ready_jobs_are_paged_as_they_will_be_received",
    "running_and_waiting_jobs_are_paged_oldest_first",
    "scheduled_jobs_are_paged_by_due_time",
    "the_newest_of_very_many_ended_jobs_are_kept",
}
"""Notes are found by id. To keep them in the order of each state as well would be several writes more at each step of a job;
so counts are exact for up to 10,000 jobs, which are looked at one by one, and pages go by ids, but for the dead."""

MOVED = {"a_limit_goes_with_its_job"}
"""There are no limits to go with it."""

MISSING_WITH_STORE = frozenset(PLACES | EVERY_QUEUE | PAGES | GATES | MOVED)
"""Limits and turns would have to be judged as messages are pushed, by the server."""
