"""Brokers that break a promise about jobs on their way into another store."""

from __future__ import annotations

import math
from typing import Any

from msgspec import structs

from longboat.brokers.memory import transfer
from longboat.brokers.memory.record import UNCONSTRAINED
from longboat.core.job import State
from tests.conformance.sabotage import around, breaks, quietly


@breaks("exported_jobs_leave_whole")
def what_is_packed_stays_ready(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        exported_jobs = original(name, ids)
        broker.transfer.import_jobs(f"{name} again", [each for each in exported_jobs if not each.dead])
        return exported_jobs

    around(broker.transfer, "export_jobs", pack)


@breaks("an_export_is_kept_until_confirmed")
def nothing_is_written_down(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        exported_jobs = original(name, ids)
        broker.transfer._exported_jobs.pop(name, None)
        return exported_jobs

    around(broker.transfer, "export_jobs", pack)


@breaks("running_and_ended_jobs_are_not_exported")
def whatever_has_ended_is_packed(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        with broker._store.changed:
            for record in broker._store.jobs.values():
                if record.state.ended:
                    broker._store.move(record, State.DEAD)
        return original(name, ids)

    around(broker.transfer, "export_jobs", pack)


@breaks("dependent_jobs_are_not_exported")
def parents_are_packed(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        with broker._store.changed:
            for record in broker._store.jobs.values():
                record.pending = set()
        return original(name, ids)

    around(broker.transfer, "export_jobs", pack)


@breaks("a_limit_goes_with_its_job")
def limits_are_lost_on_the_way(broker: Any) -> None:
    def unpack(original: Any, name: str, exported_jobs: Any) -> Any:
        new = original(name, exported_jobs)
        for job_id in new:
            broker._store.jobs[job_id].constraints = UNCONSTRAINED
        return new

    around(broker.transfer, "import_jobs", unpack)


@breaks("an_export_is_bounded_in_size")
def room_has_no_end(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        module: Any = transfer
        room, module.ROOM = module.ROOM, 10**12
        try:
            return original(name, ids)
        finally:
            module.ROOM = room

    around(broker.transfer, "export_jobs", pack)


def _changed(broker: Any, **fields: Any) -> None:
    def unpack(original: Any, name: str, exported_jobs: Any) -> Any:
        return original(name, [structs.replace(each, **fields) for each in exported_jobs])

    around(broker.transfer, "import_jobs", unpack)


@breaks("imported_jobs_are_as_they_were")
def attempts_are_lost_on_the_way(broker: Any) -> None:
    _changed(broker, attempts=0)


@breaks("dead_jobs_are_imported_dead")
def the_dead_come_back_to_life(broker: Any) -> None:
    _changed(broker, dead=False)


@breaks("an_expiry_goes_with_its_job")
def an_expiry_is_lost_on_the_way(broker: Any) -> None:
    _changed(broker, expires=None)


@breaks("importing_again_makes_no_second_job")
def names_are_forgotten(broker: Any) -> None:
    def unpack(original: Any, name: str, exported_jobs: Any) -> Any:
        broker._store.tokens.pop(name, None)
        return original(name, exported_jobs)

    around(broker.transfer, "import_jobs", unpack)


@breaks("an_exported_id_is_remembered_and_may_come_back")
def who_has_left_cannot_come_back(broker: Any) -> None:
    def unpack(original: Any, name: str, exported_jobs: Any) -> Any:
        broker.transfer._away = dict.fromkeys(broker.transfer._away, math.nan)
        return original(name, exported_jobs)

    around(broker.transfer, "import_jobs", unpack)


@breaks("an_import_wakes_a_waiting_receive")
def unpacking_wakes_nobody(broker: Any) -> None:
    def unpack(original: Any, name: str, exported_jobs: Any) -> Any:
        with quietly(broker):
            return original(name, exported_jobs)

    around(broker.transfer, "import_jobs", unpack)
