"""Moving jobs out of RabbitMQ and into it, where a store is kept: its notes say where a job is, not its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from longboat.brokers.rabbitmq.entries import HELD, hashed
from longboat.brokers.rabbitmq.ledger import Seen, opened
from longboat.brokers.rabbitmq.names import level_of
from longboat.brokers.rabbitmq.packing import (
    SEALED,
    ExportBatch,
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
from longboat.contract.kv import Entry
from longboat.contract.transfer import ExportedJob

if TYPE_CHECKING:
    from longboat.brokers.rabbitmq.broker import RabbitmqBroker
    from longboat.brokers.rabbitmq.stored import Stored

TRIES = 5
"""How often a batch is begun that others give up, who look what was left half done."""


class RabbitmqTransfer:
    def __init__(self, broker: RabbitmqBroker, stored: Stored) -> None:
        self._broker = broker
        self._stored = stored
        self._ledger = stored.ledger

    def export_jobs(self, name: str, ids: Sequence[str]) -> list[ExportedJob]:
        for _ in range(TRIES):
            (raw,) = self._ledger.read([batch_key(name)])
            batch = opened(ExportBatch, raw)
            if batch is not None and batch.stage != SEALED:
                give_up(self._ledger, batch, raw)
            if batch is None or batch.stage != SEALED:
                choices = choices_of(self._ledger, ids, self._gone(ids))
                if not choices:
                    return []
                batch = Packing(self._ledger, name).seal(choices)
            if batch is not None:
                exported_jobs = self._exported_jobs(batch)
                self._take_leave(batch, exported_jobs)
                return exported_jobs
        return []

    def unconfirmed(self) -> list[str]:
        """Also puts back what was packed by half."""
        names: list[str] = []
        for _, raw in self._ledger.between("b/", "b0"):
            batch = msgspec.msgpack.decode(raw, type=ExportBatch)
            if batch.stage == SEALED:
                names.append(batch.name)
            else:
                give_up(self._ledger, batch, raw)
        return sorted(names)

    def import_jobs(self, name: str, exported_jobs: Sequence[ExportedJob]) -> list[str]:
        return Unpacking(self._broker, self._stored, name, exported_jobs)()

    def confirm(self, name: str) -> None:
        (raw,) = self._ledger.read([batch_key(name)])
        batch = opened(ExportBatch, raw)
        if batch is not None and batch.stage == SEALED:
            self._take_leave(batch, self._exported_jobs(batch))
            pieces = [Entry(f"y/{hashed(batch.mark)}/{n}", None) for n in range(batch.pieces)]
            self._ledger.write([Entry(batch_key(name), None), *pieces])

    def _exported_jobs(self, batch: ExportBatch) -> list[ExportedJob]:
        raw = self._ledger.whole("y", batch.mark, batch.exported_jobs, batch.pieces)
        return msgspec.msgpack.decode(raw, type=list[ExportedJob]) if raw else []

    def _take_leave(self, batch: ExportBatch, exported_jobs: Sequence[ExportedJob]) -> None:
        """What follows of the seal; of jobs whose claims are still marked, since the others may have come back."""
        by_id = {exported.id: exported for exported in exported_jobs}
        put_back(self._ledger, batch.mark, [name for name in batch.ids if name not in by_id])
        left = self._marked(batch)
        if not left:
            return
        wanted: dict[Place, list[str]] = {}
        for each in left:
            exported = by_id[each.id]
            if exported.dead or not exported.delay:
                place = (exported.queue, None if exported.dead else level_of(exported.priority))
                wanted.setdefault(place, []).append(each.id)
        Sweep(self._broker)(wanted, lambda: [each.id for each in self._marked(batch)])
        self._ledger.write([entry for each in self._marked(batch) for entry in farewell(each, by_id[each.id])])

    def _marked(self, batch: ExportBatch) -> list[Seen]:
        """Those of its jobs that have not left yet."""
        seen = self._ledger.look(batch.taken)
        return [each for each in seen if each.claim and marked(each.claim) and batch.mark in each.claim.copies]

    def _gone(self, ids: Sequence[str]) -> Mapping[str, bool]:
        """Of the consumers that hold some of these jobs and show no heart-beat, whether their connections are gone."""
        return {holder: self._stored.silent(holder) for holder in {*map(_lost, self._ledger.look(ids))} - {""}}


def _lost(seen: Seen) -> str:
    claim = seen.claim
    return claim.holder if claim is not None and claim.kind == HELD and not seen.alive and not seen.asked else ""
