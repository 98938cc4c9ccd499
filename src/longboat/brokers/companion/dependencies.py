"""Dependencies: jobs that wait for others in the KV, and are published when the last of their parents has succeeded.

What is done for an edge can be done again, whoever died over it: the parent's message is acknowledged last, and a dependent
that is published twice is claimed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from longboat.brokers.companion.entries import Edge, End, children, key, pair, parents_of
from longboat.brokers.companion.ledger import Ledger, encode
from longboat.contract.carrier import Carrier, Envelope
from longboat.contract.kv import Entry
from longboat.contract.messages import message_of
from longboat.core.codec import decoded
from longboat.core.job import Job, State, new_id
from longboat.core.views import job_or_none


class Dependencies:
    def __init__(self, ledger: Ledger, carrier: Carrier) -> None:
        self._ledger = ledger
        self._carrier = carrier

    def edges(self, job: Job) -> list[Entry]:
        """What is to be written with a job that comes after others."""
        parents = parents_of(job.constraints)
        edge = encode(Edge(job.id, len(parents) == 1))
        entries: list[Entry] = []
        for parent in parents:
            entries += [
                Entry(pair("d", parent, job.id), edge),
                Entry(pair("w", job.id, parent), b""),
                Entry(key("f", parent), b"1"),
            ]
        return entries

    def inputs(self, jobs: Iterable[Job]) -> dict[str, list[bytes]]:
        """The results of the parents of these jobs, by id."""
        wanted = {job.id: [pair("i", job.id, parent) for parent in job.constraints.after] for job in jobs if job.constraints}
        keys = list(dict.fromkeys(each for keys in wanted.values() for each in keys))
        there = dict(zip(keys, self._ledger.read(keys), strict=True))
        return {name: [there[each] or b"" for each in keys] for name, keys in wanted.items()}

    def catch_up(self, parents: Iterable[str]) -> None:
        """Those of these that have ended meanwhile set their dependents free."""
        ends = self._ledger.read_as(End, [key("e", each) for each in dict.fromkeys(parents)])
        done = [end for end in ends if end and end.state is State.SUCCEEDED]
        self.succeeded({end.id: self._ledger.result(end) or b"" for end in done})

    def succeeded(self, results: Mapping[str, bytes]) -> None:
        """These parents have, and may have dependents."""
        waiting: dict[str, list[tuple[str, bool]]] = {}
        over: list[Entry] = []
        for parent in results:
            over.append(Entry(key("f", parent), None))
            for name, raw in self._ledger.between(*children("d", parent)):
                if (edge := decoded(raw, Edge)) is None:
                    continue
                waiting.setdefault(edge.job, []).append((parent, edge.sole))
                over.append(Entry(name, None))
        if not waiting:
            return
        entries: list[Entry] = []
        free: list[str] = []
        for seen in self._ledger.look(list(waiting)):
            if seen.end is None and seen.claim is None and seen.put_record is not None and not seen.put_record.over:
                free.append(seen.id)
                for parent, _ in waiting[seen.id]:
                    entries += [Entry(pair("i", seen.id, parent), results[parent]), Entry(pair("w", seen.id, parent), None)]
        self._ledger.write(entries)
        for name in free:
            if waiting[name][0][1] or not self._ledger.first(*children("w", name)):
                self._set_free(name)
        self._ledger.write(over)

    def _set_free(self, name: str) -> None:
        while True:
            (seen,) = self._ledger.look([name])
            put_record = seen.put_record
            if put_record is None or put_record.over or seen.end is not None or seen.claim is not None:
                return
            message = self._ledger.message(seen)
            if (job := job_or_none(message)) is None:
                return
            self._carrier.declare(job.queue, job.delay)
            now = self._ledger.now()
            if not put_record.waits:
                break  # whoever did this may have died before the publish
            new = msgspec.structs.replace(put_record, waits=False, due=now + job.delay, sure=True)
            if self._ledger.compare_and_set(Entry(key("m", name), encode(new)), seen.put_raw):
                put_record = new
                break
        put = put_record.put if job.expires is not None else 0.0
        envelope = Envelope(put=put, copy=new_id(), again=True)
        self._carrier.send([message_of(job, message, envelope, max(0.0, put_record.due - now))])


def dependent(jobs: Iterable[Job]) -> Sequence[Job]:
    """Those of these that come after others."""
    return [job for job in jobs if job.constraints and job.constraints.after]
