"""Clauses about looking inside: counts, views, pages, consumers."""

from __future__ import annotations

import time
from typing import Any

from longboat.contract.capabilities import Capability
from longboat.core.job import Cancelled, Dead, Done, Job, Outcome, Park, Release, Retry, State
from longboat.testing.conformance.clause import clause
from longboat.testing.conformance.stage import BOOM, Stage, check, ids, job, same, settle, some, take, take_all


def _pages(on: Stage, state: State, limit: int, **which: Any) -> list[str]:
    """The ids on all pages, each of which must be within the limit."""
    found: list[str] = []
    after: str | None = None
    for _ in range(200):
        page = on.broker.inspector.jobs(state, after=after, limit=limit, **which)
        check(len(page.jobs) <= limit, f"a page of {len(page.jobs)} where {limit} were asked for")
        check(all(view.state is state for view in page.jobs), f"a page of {state} jobs holds others")
        found += ids(page.jobs)
        after = page.after
        if after is None:
            return found
    raise AssertionError("the pages have no end")


@clause(
    needs={
        Capability.EXACT_COUNTS,
        Capability.COUNTS,
        Capability.EVICT,
        Capability.DEAD_JOBS,
        Capability.CANCEL,
        Capability.PURGE,
        Capability.PARKING,
    }
)
def counts_are_exact(on: Stage) -> None:
    """`counts` gives the exact number of jobs per queue and state, only those above 0, through every change of state."""
    counts = on.another().inspector.counts
    same(dict(counts()), {}, "counts of an empty store")
    on.put(*some(9))
    on.put(*some(3, queue="other", delay=60.0))
    other = ("other", State.SCHEDULED)
    same(dict(counts()), {("q", State.READY): 9, other: 3}, "counts after puts")
    consumer = on.consumer()
    leases = take_all(consumer, 9)
    same(dict(counts()), {("q", State.RUNNING): 9, other: 3}, "counts while they run")
    outcomes: list[Outcome] = [
        Done(b""),
        Done(b""),
        Dead(BOOM),
        Cancelled(BOOM),
        Retry(60.0, BOOM),
        Release(),
        Park(60.0, BOOM),
    ]
    for lease, outcome in zip(leases, outcomes, strict=False):
        settle(consumer, lease, outcome)
    by_state = {"succeeded": 2, "dead": 1, "cancelled": 1, "scheduled": 1, "ready": 1, "waiting": 1, "running": 2}
    wanted = {("q", State(name)): n for name, n in by_state.items()} | {other: 3}
    same(dict(counts()), wanted, "counts after the settle")
    on.broker.evict(consumer.id, BOOM)
    on.broker.inspector.retry([leases[2].job.id])
    on.broker.inspector.cancel([leases[4].job.id, leases[6].job.id])
    on.broker.inspector.purge([State.SCHEDULED])
    wanted = {("q", State.SUCCEEDED): 2, ("q", State.READY): 4, ("q", State.CANCELLED): 3}
    same(dict(counts()), wanted, "counts after evict, retry, cancel and purge")


@clause(needs={Capability.LOOKUP})
def a_view_tells_all_of_a_job(on: Stage) -> None:
    """`find` gives what was put and what became of it, in the order asked, and None where the id is unknown."""
    began = time.time() - 0.001
    sent = job(task="pkg:task", payload=b"\x81\xa1a\x01", priority=3, enqueued=17.5)
    on.put(sent)
    view, unknown, again = on.another().inspector.find([sent.id, "nobody", sent.id])
    check(unknown is None and view == again, "find does not answer in the order asked")
    view = on.view(sent.id)
    facts = (view.id, view.state, view.queue, view.task, view.priority, view.attempts, view.payload, view.enqueued)
    same(facts, (sent.id, State.READY, "q", "pkg:task", 3, 0, sent.payload, 17.5), "the view of a ready job")
    same((view.due, view.ended, view.worker, view.result, view.failures), (None, None, None, None, []), "the rest")
    consumer = on.consumer(name="host-3")
    lease = take(consumer)
    consumer.settle([], started=[lease])
    view = on.view(sent.id)
    same((view.state, view.worker), (State.RUNNING, "host-3"), "state and worker while it runs")
    check(view.started is not None and began <= view.started <= time.time() + 0.001, f"started at {view.started}")
    settle(consumer, lease, Retry(50.0, BOOM))
    view = on.view(sent.id)
    same((view.state, view.worker, view.attempts, view.failures), (State.SCHEDULED, None, 1, [BOOM]), "as scheduled")
    check(view.due is not None and began + 50 <= view.due <= time.time() + 50.001, f"due at {view.due}")


@clause(needs={Capability.LOOKUP, Capability.DEAD_JOBS})
def a_view_tells_how_a_job_ended(on: Stage) -> None:
    """An ended job's view holds its result or its failures, its attempts and when it ended."""
    began = time.time() - 0.001
    done, dead = on.ended(Done(b"value")), on.ended(Dead(BOOM))
    view = on.view(done.id)
    same((view.state, view.result, view.attempts, view.failures), (State.SUCCEEDED, b"value", 1, []), "of a success")
    check(view.ended is not None and began <= view.ended <= time.time() + 0.001, f"ended at {view.ended}")
    view = on.view(dead.id)
    same((view.state, view.result, view.attempts, view.failures), (State.DEAD, None, 1, [BOOM]), "of a death")


@clause(needs={Capability.LISTS, Capability.ORDERED_LISTS})
def ready_jobs_are_paged_as_they_will_be_received(on: Stage) -> None:
    """Pages of ready jobs come queue by queue, in the order they will be received, none left out, none twice."""
    jobs = [job(queue=queue, priority=n % 3) for n in range(20) for queue in ("b", "a")]
    on.put(*jobs)
    of_a, of_b = _pages(on, State.READY, 7, queue="a"), _pages(on, State.READY, 7, queue="b")
    everything = _pages(on, State.READY, 6)
    check(everything in (of_a + of_b, of_b + of_a), "pages of all queues are not those of each, queue by queue")
    same(ids(take_all(on.consumer("a"), 20)), of_a, "the order received, and paged")
    same(ids(take_all(on.consumer("b"), 20)), of_b, "the order received, and paged")


@clause(needs={Capability.LISTS, Capability.ORDERED_LISTS})
def scheduled_jobs_are_paged_by_due_time(on: Stage) -> None:
    """Pages of scheduled jobs of all queues come in the order of their due times."""
    jobs = [job(delay=60.0 + (n * 37) % 100, queue="ab"[n % 2]) for n in range(20)]
    on.put(*jobs)
    wanted = [each.id for each in sorted(jobs, key=lambda each: each.delay)]
    same(_pages(on, State.SCHEDULED, 3), wanted, "the order of the pages")


@clause(needs={Capability.LISTS, Capability.ORDERED_LISTS, Capability.PARKING})
def running_and_waiting_jobs_are_paged_oldest_first(on: Stage) -> None:
    """Pages of running and of waiting jobs come in the order the jobs were put, whatever their priorities."""
    jobs = [job(priority=(n * 3) % 7) for n in range(10)]
    on.put(*jobs)
    consumer = on.consumer()
    leases = take_all(consumer, 10)
    same(_pages(on, State.RUNNING, 3), ids(jobs), "running jobs")
    for lease in leases:
        settle(consumer, lease, Park(60.0, BOOM))
    same(_pages(on, State.WAITING, 3), ids(jobs), "waiting jobs")


@clause(needs={Capability.LISTS, Capability.ORDERED_LISTS, Capability.DEAD_JOBS})
def ended_jobs_are_paged_newest_first(on: Stage) -> None:
    """Pages of ended jobs come in the order of their ends, newest first, over all queues or of one."""
    ways: list[tuple[Outcome, State]] = [
        (Done(b""), State.SUCCEEDED),
        (Dead(BOOM), State.DEAD),
        (Cancelled(BOOM), State.CANCELLED),
    ]
    for outcome, state in ways:
        jobs: list[Job] = []
        for n in range(6):
            jobs.append(on.ended(outcome, queue="ab"[n % 2]))
            time.sleep(0.002)
        same(_pages(on, state, 4), ids(reversed(jobs)), f"{state} jobs of all queues")
        same(_pages(on, state, 2, queue="a"), ids(jobs[-2::-2]), f"{state} jobs of one queue")


@clause(needs={Capability.LISTS})
def pages_of_one_task_hold_that_task_only(on: Stage) -> None:
    """With `task` the pages together hold every job of that task and no other."""
    jobs = [job(task="ab"[n % 5 == 0]) for n in range(60)]
    on.put(*jobs)
    wanted = [each.id for each in jobs if each.task == "b"]
    same(_pages(on, State.READY, 5, task="b"), wanted, "jobs of the task")
    same(_pages(on, State.READY, 5, task="none"), [], "jobs of a task that has none")


@clause(needs={Capability.LISTS, Capability.ORDERED_LISTS})
def a_page_goes_on_though_jobs_have_left(on: Stage) -> None:
    """Jobs that leave between two pages make the next one neither repeat nor skip any of the others."""
    jobs = some(12)
    on.put(*jobs)
    page = on.broker.inspector.jobs(State.READY, limit=5)
    take_all(on.consumer(), 7)
    rest = on.broker.inspector.jobs(State.READY, limit=50, after=page.after)
    same((ids(page.jobs), ids(rest.jobs)), (ids(jobs[:5]), ids(jobs[7:])), "the two pages")


@clause(needs={Capability.CONSUMERS, Capability.EVERY_QUEUE, Capability.EVICT})
def consumers_are_listed(on: Stage) -> None:
    """`consumers` gives those whose leases hold and what they hold, and none that were closed, evicted or lost."""
    began = time.time() - 0.001
    one, two = on.consumer("a", "q", lease=30.0, name="host-1"), on.consumer(every=True, of=on.another())
    closed, evicted, lost = on.consumer(), on.consumer(), on.consumer(lease=0.2)
    on.put(*some(3))
    take_all(one, 3)
    closed.close()
    on.broker.evict(evicted.id, BOOM)
    time.sleep(0.25)
    views = {view.id: view for view in on.broker.inspector.consumers()}
    same(set(views), {one.id, two.id}, f"consumers listed (and not {lost.id})")
    same((views[one.id].name, views[one.id].queues, views[one.id].running), ("host-1", ["a", "q"], 3), "the first")
    same((views[two.id].queues, views[two.id].running), ([], 0), "the second")
    deadline = views[one.id].deadline
    check(began + 30 <= deadline <= time.time() + 30.001, f"the deadline is {deadline - began:.1f} s away")
