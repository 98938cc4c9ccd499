"""RedisConsumer: one worker's hold on the server."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Collection, Sequence
from hashlib import blake2b

from longboat.brokers.redis.claimed import Claimed
from longboat.brokers.redis.keys import SIZE, key_of, split
from longboat.brokers.redis.server import SHORTEST, Server, Value, WaitingConnection
from longboat.brokers.redis.settling import Held, SettleBatch
from longboat.contract.base import OTHERS_FIRST, BaseConsumer
from longboat.contract.base_pages import batches
from longboat.contract.broker import Lease, Settlement
from longboat.core import reasons
from longboat.core.clock import SYSTEM
from longboat.core.job import Dead
from longboat.core.portions import asked, portions
from longboat.core.views import job_or_none
from longboat.errors import BrokerError, Undecodable

_AGAIN = b"again"
"""Said by a claim that has stopped among jobs that limits block: others may stand behind them."""
_MESSAGES = 1000
"""Messages to ask for at once."""
_INPUTS = 1000
"""Results of parents to ask for at once."""


class RedisConsumer(BaseConsumer):
    """Made by `RedisBroker.consumer`; see the contract."""

    def __init__(self, server: Server, id: str, queues: Sequence[str], lease: float) -> None:
        super().__init__(id)
        self._server = server
        self._queues = list(queues)
        self._lease = lease
        self._connection = WaitingConnection(server)
        self._held: Held = {}
        self._cancelling: dict[bytes, str] = {}
        """Ids of leased jobs whose cancellation was requested, by key."""
        # Random at first, so that no lease of another consumer has a token that is used here.
        self._number = self._heard = secrets.randbits(30) << 17
        """The last claim that was made, and the last one whose answer came."""
        self._unsure = False
        """The answer to a claim was lost: the server may have leased jobs that nobody here knows of."""
        self._drained_until = 0.0
        """Until then only a wake-up brings something to claim. A wake-up lasts until it is taken, so none is missed."""
        self._wake_list = server.key(f"wake_consumer:{id}")
        self._idle = False
        """Others know that it waits."""
        self._mean: Value = ""
        """Bytes of a message among those that came last."""
        self._asked: tuple[Value, ...] = ()
        """What a claim says of queues and pauses."""
        self._wake_lists: tuple[str, ...] = ()
        self._aim("", (), ())

    def _aim(self, but: str, paused: Sequence[str], tasks: Sequence[str]) -> None:
        """Ask for all but these from now on. `but` names the wake-up list of those who pause the same of every queue."""
        queues = [queue for queue in self._queues if queue not in paused]
        count: Value = len(queues) if self._queues else ""
        pauses: tuple[Value, ...] = (but, len(paused), *paused, *tasks) if paused or tasks else ()
        self._asked = (count, *queues, *pauses)
        lists = [f"wake:{queue}" for queue in queues] if self._queues else [f"wake_but:{but}" if but else "wake"]
        self._wake_lists = (self._wake_list, *map(self._server.key, lists))

    def _receive(self, n: int, until: float) -> list[Lease]:
        leases = super()._receive(n, until)
        if self._idle:
            self._idle = False
            self._server.command("HDEL", self._server.key("idle"), self.id)
        return leases

    def _claim(self, n: int, until: float) -> list[Lease]:
        now = SYSTEM.monotonic()
        if now < self._drained_until and now < until and not self._unsure:
            return []
        share = "" if not self._shares else "rest" if self._served else "part"
        leases, due = self._claim_once(n, share)
        while due == _AGAIN and not leases and not self._must_return():
            leases, due = self._claim_once(n, share)
        if share:
            self._idle = not leases
        if self._yields:
            self._drained_until = SYSTEM.monotonic() + OTHERS_FIRST
        elif len(leases) < n:
            seconds = 0.0 if due == _AGAIN else float(due) if due else math.inf
            self._drained_until = SYSTEM.monotonic() + min(seconds, self._server.slice)
        return leases

    def _claim_once(self, n: int, share: str) -> tuple[list[Lease], bytes]:
        """What came, and in how many seconds something is due: empty for never."""
        heard = self._heard if self._unsure else ""
        self._number += 1
        number, self._unsure = self._number, True
        answer = self._connection.call("claim", self.id, n, number, heard, share, self._mean, *self._asked)
        if answer is None:
            self._lose()
            return [], b""
        due, keys, messages, spans, histories, yields = answer
        self._yields = bool(yields)
        leases: list[Lease] = []
        if keys:
            raw = messages if isinstance(messages, bytes) else self._fetched(split(keys), messages)
            self._mean = len(raw) * SIZE // len(keys)
            leases = self._with_inputs(self._leases(Claimed(number, keys, raw, spans, histories)))
        self._heard, self._unsure = number, False  # only now: what raised before is given again
        return leases, due

    def _wait(self, until: float) -> None:
        seconds = min(until, self._drained_until) - SYSTEM.monotonic()
        self._drained_until = 0.0
        woken = self._connection.command("BLPOP", *self._wake_lists, f"{max(seconds, SHORTEST):.3f}")
        if woken and woken[1] == b"cancel":
            self._cancelled += 1

    def _leases(self, claimed: Claimed) -> list[Lease]:
        try:
            leases = claimed.together()
        except Undecodable:
            return self._separate(claimed)
        self._held.update(zip([lease.token for lease in leases], claimed.keys, strict=True))
        return leases

    def _fetched(self, keys: Sequence[bytes], sizes: Sequence[int]) -> bytes:
        """Messages in a row. One is not there if the lease was lost meanwhile: then the job may be forgotten."""
        found: list[bytes] = []
        size_of = dict(zip(keys, sizes, strict=True))
        for part in portions(keys, _MESSAGES, size_of.__getitem__):
            messages = self._connection.command("HMGET", self._server.key("jobs"), *part)
            found += [message or b"" for message in messages]
        return b"".join(found)

    def _separate(self, claimed: Claimed) -> list[Lease]:
        """At least one message is wrong: it dies, the others are received."""
        leases, bad = claimed.separately(self._messages(claimed.keys))
        self._held.update((lease.token, claimed.key_of(lease.token)) for lease in leases)
        if bad:
            batch = SettleBatch(self._held)
            for token, why in bad:
                outcome = Dead(reasons.undecodable(why, SYSTEM.now()), counted=False)
                batch.bury(claimed.key_of(token), token, outcome)
            self._server.call("settle", self.id, *batch.values())
        return leases

    def _with_inputs(self, leases: list[Lease]) -> list[Lease]:
        """Those that came after others are told their results."""
        fields: list[bytes] = []
        for lease in leases:
            if lease.job.constraints is not None and lease.job.constraints.after:
                key = key_of(lease.job.id)
                fields += [key + key_of(parent) for parent in lease.job.constraints.after]
        if not fields:
            return leases
        inputs: list[bytes] = []
        for part in batches(fields, _INPUTS):
            found = self._connection.command("HMGET", self._server.key("inputs"), *part)
            inputs += [value or b"" for value in found]  # none for a lease that is lost by now
        at = 0
        for lease in leases:
            if lease.job.constraints is not None:
                lease.inputs = inputs[at : (at := at + len(lease.job.constraints.after))]
        return leases

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        batch = SettleBatch(self._held)
        batch.start(started)
        for settlement in settlements:
            batch.add(settlement)
        if batch.size:
            refused = self._server.call("settle", self.id, *batch.values(), again=False)
            batch.settled(refused)
        return batch.refused

    def _beat(self) -> list[str] | None:
        keys = self._server.call("extend", self.id, repr(float(self._lease)))
        if keys is None:
            self._lose()
            return None
        new = [key for key in keys if key not in self._cancelling]
        for key, message in zip(
            new, asked(new, _MESSAGES, self._messages, lambda message: len(message or b"")), strict=True
        ):
            if job := job_or_none(message or b""):
                self._cancelling[key] = job.id
        self._cancelling = {key: self._cancelling[key] for key in keys if key in self._cancelling}
        return list(self._cancelling.values())

    def _messages(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = self._server.command("HMGET", self._server.key("jobs"), *keys)
        return found

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        paused = sorted(queues)
        but = blake2b("\0".join(paused).encode(errors="surrogatepass"), digest_size=8).hexdigest() if paused else ""
        self._aim("" if self._queues else but, paused, list(tasks))
        if not self._queues:
            self._server.call("pause", self.id, but, *paused)
        self._drained_until = 0.0
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BrokerError):  # then the receive that waits ends, or looks, within a second by itself
            self._server.command("LPUSH", self._wake_list, "look")

    def _end(self) -> None:
        self._held.clear()
        with self._receiving:
            self._connection.close()
        self._server.call("unregister", self.id, "")

    def _lose(self) -> None:
        self._over = True
        self._held.clear()


def registered(server: Server, queues: Sequence[str], lease: float, tasks: Collection[str], name: str) -> RedisConsumer:
    """A new consumer, which the server knows."""
    consumer = os.urandom(8).hex()
    every = "" if queues else "every"
    server.call("register", consumer, name, json.dumps(queues), repr(float(lease)), every, *tasks)
    return RedisConsumer(server, consumer, queues, lease)
