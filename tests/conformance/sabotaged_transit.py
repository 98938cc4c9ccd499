"""Brokers that break a promise about jobs on their way into another store."""

from __future__ import annotations

import math
from typing import Any

from msgspec import structs
from sabotage import around, breaks, quietly

from longboat.brokers.memory import transit
from longboat.brokers.memory.bonds import NO_TIES
from longboat.core.job import State


@breaks("packed_jobs_leave_whole")
def what_is_packed_stays_ready(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        parcels = original(name, ids)
        broker.transit.unpack(f"{name} again", [each for each in parcels if not each.dead])
        return parcels

    around(broker.transit, "pack", pack)


@breaks("what_is_packed_stays_written_down")
def nothing_is_written_down(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        parcels = original(name, ids)
        broker.transit._parcels.pop(name, None)
        return parcels

    around(broker.transit, "pack", pack)


@breaks("jobs_that_run_or_have_ended_are_not_packed")
def whatever_has_ended_is_packed(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        with broker._store.changed:
            for record in broker._store.jobs.values():
                if record.state.ended:
                    broker._store.move(record, State.DEAD)
        return original(name, ids)

    around(broker.transit, "pack", pack)


@breaks("jobs_tied_to_others_are_not_packed")
def parents_are_packed(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        with broker._store.changed:
            for record in broker._store.jobs.values():
                record.pending = set()
        return original(name, ids)

    around(broker.transit, "pack", pack)


@breaks("a_limit_goes_with_its_job")
def limits_are_lost_on_the_way(broker: Any) -> None:
    def unpack(original: Any, name: str, parcels: Any) -> Any:
        new = original(name, parcels)
        for job_id in new:
            broker._store.jobs[job_id].ties = NO_TIES
        return new

    around(broker.transit, "unpack", unpack)


@breaks("packing_keeps_to_its_room")
def room_has_no_end(broker: Any) -> None:
    def pack(original: Any, name: str, ids: Any) -> Any:
        module: Any = transit
        room, module.ROOM = module.ROOM, 10**12
        try:
            return original(name, ids)
        finally:
            module.ROOM = room

    around(broker.transit, "pack", pack)


def _changed(broker: Any, **fields: Any) -> None:
    def unpack(original: Any, name: str, parcels: Any) -> Any:
        return original(name, [structs.replace(each, **fields) for each in parcels])

    around(broker.transit, "unpack", unpack)


@breaks("unpacked_jobs_are_as_they_were")
def attempts_are_lost_on_the_way(broker: Any) -> None:
    _changed(broker, attempts=0)


@breaks("the_dead_are_unpacked_dead")
def the_dead_come_back_to_life(broker: Any) -> None:
    _changed(broker, dead=False)


@breaks("an_expiry_goes_with_its_job")
def an_expiry_is_lost_on_the_way(broker: Any) -> None:
    _changed(broker, expires=None)


@breaks("unpacking_again_makes_no_second_job")
def names_are_forgotten(broker: Any) -> None:
    def unpack(original: Any, name: str, parcels: Any) -> Any:
        broker._store.tokens.pop(name, None)
        return original(name, parcels)

    around(broker.transit, "unpack", unpack)


@breaks("a_packed_id_is_remembered_and_may_come_back")
def who_has_left_cannot_come_back(broker: Any) -> None:
    def unpack(original: Any, name: str, parcels: Any) -> Any:
        broker.transit._away = dict.fromkeys(broker.transit._away, math.nan)
        return original(name, parcels)

    around(broker.transit, "unpack", unpack)


@breaks("unpacking_wakes_a_waiting_receive")
def unpacking_wakes_nobody(broker: Any) -> None:
    def unpack(original: Any, name: str, parcels: Any) -> Any:
        with quietly(broker):
            return original(name, parcels)

    around(broker.transit, "unpack", unpack)
