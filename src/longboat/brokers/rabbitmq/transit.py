"""Moving jobs out of RabbitMQ and into it, where a store is kept: its notes say where a job is, not its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from longboat.brokers.rabbitmq.ledger import Seen, opened
from longboat.brokers.rabbitmq.names import level_of
from longboat.brokers.rabbitmq.notes import HELD, hashed
from longboat.brokers.rabbitmq.packing import (
    SEALED,
    Batch,
    Packing,
    batch_key,
    choices_of,
    farewell,
    give_up,
    marked,
    put_back,
)
from longboat.brokers.rabbitmq.sweeping import Place, Sweep
from longboat.brokers.rabbitmq.unpacking import Unpacking
from longboat.contract.kv import Note
from longboat.contract.transfer import Parcel

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker
    from longboat.brokers.rabbitmq.stored import Stored

TRIES = 5
"""How often a batch is begun that others give up, who look what was left half done."""


class RabbitmqTransit:
    def __init__(self, broker: RabbitmqBroker, stored: Stored) -> None:
        self._broker = broker
        self._stored = stored
        self._ledger = stored.ledger

    def pack(self, name: str, ids: Sequence[str]) -> list[Parcel]:
        for _ in range(TRIES):
            (raw,) = self._ledger.read([batch_key(name)])
            batch = opened(Batch, raw)
            if batch is not None and batch.stage != SEALED:
                give_up(self._ledger, batch, raw)
            if batch is None or batch.stage != SEALED:
                choices = choices_of(self._ledger, ids, self._gone(ids))
                if not choices:
                    return []
                batch = Packing(self._ledger, name).seal(choices)
            if batch is not None:
                parcels = self._parcels(batch)
                self._take_leave(batch, parcels)
                return parcels
        return []

    def packed(self) -> list[str]:
        """Also puts back what was packed by half."""
        names: list[str] = []
        for _, raw in self._ledger.between("b/", "b0"):
            batch = msgspec.msgpack.decode(raw, type=Batch)
            if batch.stage == SEALED:
                names.append(batch.name)
            else:
                give_up(self._ledger, batch, raw)
        return sorted(names)

    def unpack(self, name: str, parcels: Sequence[Parcel]) -> list[str]:
        return Unpacking(self._broker, self._stored, name, parcels)()

    def delivered(self, name: str) -> None:
        (raw,) = self._ledger.read([batch_key(name)])
        batch = opened(Batch, raw)
        if batch is not None and batch.stage == SEALED:
            self._take_leave(batch, self._parcels(batch))
            pieces = [Note(f"y/{hashed(batch.mark)}/{n}", None) for n in range(batch.pieces)]
            self._ledger.write([Note(batch_key(name), None), *pieces])

    def _parcels(self, batch: Batch) -> list[Parcel]:
        raw = self._ledger.whole("y", batch.mark, batch.parcels, batch.pieces)
        return msgspec.msgpack.decode(raw, type=list[Parcel]) if raw else []

    def _take_leave(self, batch: Batch, parcels: Sequence[Parcel]) -> None:
        """What follows of the seal; of jobs whose claims are still marked, since the others may have come back."""
        by_id = {parcel.id: parcel for parcel in parcels}
        put_back(self._ledger, batch.mark, [name for name in batch.ids if name not in by_id])
        left = self._marked(batch)
        if not left:
            return
        wanted: dict[Place, list[str]] = {}
        for each in left:
            parcel = by_id[each.id]
            if parcel.dead or not parcel.delay:
                place = (parcel.queue, None if parcel.dead else level_of(parcel.priority))
                wanted.setdefault(place, []).append(each.id)
        Sweep(self._broker)(wanted, lambda: [each.id for each in self._marked(batch)])
        self._ledger.write([note for each in self._marked(batch) for note in farewell(each, by_id[each.id])])

    def _marked(self, batch: Batch) -> list[Seen]:
        """Those of its jobs that have not left yet."""
        seen = self._ledger.look(batch.taken)
        return [each for each in seen if each.claim and marked(each.claim) and batch.mark in each.claim.copies]

    def _gone(self, ids: Sequence[str]) -> Mapping[str, bool]:
        """Of the consumers that hold some of these jobs and show no heart-beat, whether their connections are gone."""
        return {holder: self._stored.silent(holder) for holder in {*map(_lost, self._ledger.look(ids))} - {""}}


def _lost(seen: Seen) -> str:
    claim = seen.claim
    return claim.holder if claim is not None and claim.kind == HELD and not seen.alive and not seen.asked else ""
