"""Sabotages of transactions, on SQLite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.conformance.sabotage import around, breaks


@breaks("a_job_is_there_with_the_callers_commit", "a_rollback_leaves_nothing")
def jobs_are_put_at_once(broker: Any) -> None:
    around(broker, "within", lambda *_: SimpleNamespace(put=broker.put, kv=broker.kv, inspector=broker.inspector))


@breaks("a_transaction_sees_what_it_has_put")
def every_id_is_new(broker: Any) -> None:
    _put(broker, lambda put, jobs: [put(jobs), [job.id for job in jobs]][1])


@breaks("what_is_refused_leaves_the_transaction_as_it_was")
def jobs_are_put_one_by_one(broker: Any) -> None:
    _put(broker, lambda put, jobs: [job_id for job in jobs for job_id in put([job])])


def _put(broker: Any, instead: Any) -> None:
    def within(original: Any, connection: object) -> Any:
        made = original(connection)
        around(made, "put", instead)
        return made

    around(broker, "within", within)
