"""file:///path/to/jobs.json: a broker for Longboat that keeps its jobs in one file, for some processes of one machine."""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from longboat.contract.broker import Lease, Pulse, Settlement, Token
from longboat.contract.capabilities import Capability as Can
from longboat.contract.simple import Hold, SimpleBroker
from longboat.core.codec import decode_job, encode_job
from longboat.core.job import Job, State
from longboat.core.transitions import after
from longboat.errors import BrokerUnavailable, Undecodable


class JsonFile:
    name = "A JSON file"
    capabilities = frozenset({Can.PRIORITY, Can.PLACE, Can.EVERY_QUEUE, Can.PAUSE, Can.LONG_DELAYS, Can.STARTS, Can.DEATHS})

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, path.with_suffix(".lock")

    def put(self, jobs: Sequence[Job], _token: Token | None) -> list[str]:
        bodies = [encode_job(job).decode("latin-1") for job in jobs]
        with self._store() as (store, now):
            for job, body in zip(jobs, bodies, strict=True):
                store["last"] += 1
                made = {"token": store["last"], "body": body, "queue": job.queue, "priority": job.priority}
                made |= {"due": now + job.delay, "attempts": 0, "deaths": 0, "started": False, "holder": None}
                store["jobs"].append(made)
        return [job.id for job in jobs]

    def receive(self, hold: Hold, n: int, _wait: float) -> list[Lease]:
        leases = []
        with self._store() as (store, now):
            queues = hold.asks({job["queue"] for job in store["jobs"]} if hold.id in store["consumers"] else ())
            free = [job for job in store["jobs"] if not job["holder"] and job["queue"] in queues and job["due"] <= now]
            for job in sorted(free, key=lambda job: (queues.index(job["queue"]), -job["priority"]))[:n]:
                try:
                    message = decode_job(job["body"].encode("latin-1"))
                    leases.append(Lease(message, job["attempts"] + 1, job["token"], job["deaths"], job["attempts"]))
                    job["holder"] = hold.id
                except Undecodable:
                    store["jobs"].remove(job)
                    store["dead"].append(job)
        return leases

    def settle(self, hold: Hold, settlements: Sequence[Settlement], started: Sequence[Lease]) -> list[Lease]:
        with self._store() as (store, now):
            held = {job["token"]: job for job in store["jobs"] if job["holder"] == hold.id}
            for lease in started:
                held.get(lease.token, {})["started"] = True
            for each in (each for each in settlements if each.lease.token in held):
                job, then = held[each.lease.token], after(each.outcome, cancelled=False, now=now)
                deaths = 0 if then.forgets_deaths else job["deaths"]
                job.update(attempts=job["attempts"] + then.counts, deaths=deaths, due=now + then.delay)
                job.update(started=False, holder=None)
                if then.state.ended:
                    store["jobs"].remove(job)
                    store["dead"] += [job] if then.state is State.DEAD else []
        return [lease for lease in (*started, *(each.lease for each in settlements)) if lease.token not in held]

    def extend(self, hold: Hold) -> Pulse:
        with self._store() as (store, now):
            if alive := not hold.beats or hold.id in store["consumers"]:
                store["consumers"][hold.id] = now + hold.lease
        return Pulse(alive)

    def close(self) -> None: ...

    @contextlib.contextmanager
    def _store(self) -> Iterator[tuple[dict[str, Any], float]]:
        """The file's contents, to be changed while nobody else does, and the time."""
        try:
            with self._lock.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                text = self._path.read_text() if self._path.exists() else "{}"
                store = {"last": 0, "jobs": [], "consumers": {}, "dead": []} | json.loads(text)
                for each in [each for each, deadline in store["consumers"].items() if deadline < time.time()]:
                    del store["consumers"][each]
                    for job in (job for job in store["jobs"] if job["holder"] == each):  # its worker is dead
                        job.update(attempts=job["attempts"] + job["started"], deaths=job["deaths"] + 1)
                        job.update(started=False, holder=None)
                yield store, time.time()
                if json.dumps(store) != text:
                    self._path.with_suffix(".new").write_text(json.dumps(store))
                    self._path.with_suffix(".new").replace(self._path)
        except OSError as error:
            raise BrokerUnavailable(f"{self._path}: {error}") from error


def connect(url: str, _options: dict[str, str]) -> SimpleBroker:
    return SimpleBroker(JsonFile(Path(unquote(urlsplit(url).path))))
