"""RedisConsumer: one worker's hold on the server."""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
from collections.abc import Collection, Sequence
from hashlib import blake2b

from longboat.brokers.redis.claimed import Claimed
from longboat.brokers.redis.keys import key_of
from longboat.brokers.redis.server import Server, Value, WaitingConnection
from longboat.brokers.redis.settling import Held, SettleBatch
from longboat.contract.broker import Lease, Pulse, Settlement
from longboat.core import codec
from longboat.core.clock import SYSTEM
from longboat.core.job import Dead, Failure
from longboat.core.reasons import UNDECODABLE
from longboat.errors import BrokerError, Undecodable

_AGAIN = b"again"
"""Said by a claim that has stopped among jobs that limits shut out: others may stand behind them."""
_INPUTS = 1000
"""Results of parents to ask for at once."""
_SHORTEST = 0.002
"""To wait for less takes longer than that; 0 would mean for ever."""


class RedisConsumer:
    """Made by `RedisBroker.consumer`; see the contract."""

    def __init__(self, server: Server, id: str, queues: Sequence[str], lease: float) -> None:
        self.id = id
        self._server = server
        self._queues = list(queues)
        self._lease = lease
        self._line = WaitingConnection()
        self._receiving = threading.Lock()
        self._held: Held = {}
        # Begun at random, so that no lease of another consumer has a token that is used here.
        self._number = self._heard = secrets.randbits(30) << 17
        """The last claim that was made, and the last one whose answer came."""
        self._unsure = False
        """The answer to a claim was lost: the server may have leased jobs that nobody here knows of."""
        self._drained_until = 0.0
        """Until then there is nothing to claim but what rings: a ring lasts until it is heard, so that none is missed."""
        self._passed_over = False
        self._woken = False
        self._over = False
        self._closed = False
        self._bell = server.key(f"bell:{id}")
        self._asked: tuple[Value, ...] = ()
        """What a claim says of queues and pauses."""
        self._rings: tuple[str, ...] = ()
        self._aim("", (), ())

    def _aim(self, but: str, paused: Sequence[str], tasks: Sequence[str]) -> None:
        """Ask for all but these from now on. `but` names the ring of those who pause the same of every queue."""
        queues = [queue for queue in self._queues if queue not in paused]
        count: Value = len(queues) if self._queues else ""
        pauses: tuple[Value, ...] = (but, len(paused), *paused, *tasks) if paused or tasks else ()
        self._asked = (count, *queues, *pauses)
        every = [self._server.key(f"wake_but:{but}") if but else self._server.key("wake")]
        self._rings = (self._bell, *([self._server.key(f"wake:{queue}") for queue in queues] if self._queues else every))

    def receive(self, n: int, *, wait: float) -> list[Lease]:
        with self._receiving:
            try:
                return self._receive(n, SYSTEM.monotonic() + wait)
            finally:
                self._woken = False

    def _receive(self, n: int, until: float) -> list[Lease]:
        while not self._over:
            leases: list[Lease] = []
            now = SYSTEM.monotonic()
            if now >= self._drained_until or now >= until or self._unsure:
                leases = self._claim(n)
                now = SYSTEM.monotonic()
            if leases or self._woken or self._over or (now >= until and not self._passed_over):
                return leases
            if self._passed_over:
                continue
            seconds = min(until, self._drained_until) - now
            self._drained_until = 0.0
            if self._wait(seconds) == b"cancel":
                return []
        if not self._closed:  # a loop that has not noticed must not spin
            threading.Event().wait(min(0.05, max(0.0, until - SYSTEM.monotonic())))
        return []

    def _wait(self, seconds: float) -> bytes | None:
        """Until somebody rings; what was said. It ends soon anyway: that heals a ring that was lost."""
        rung = self._server.command_on(self._line, "BLPOP", *self._rings, f"{max(seconds, _SHORTEST):.3f}")
        return rung[1] if rung else None

    def _claim(self, n: int) -> list[Lease]:
        heard = self._heard if self._unsure else ""
        self._number += 1
        number, self._unsure = self._number, True
        answer = self._server.call_on(self._line, "claim", self.id, n, number, heard, *self._asked)
        if answer is None:
            self._lose()
            return []
        due, keys, messages, spans, histories = answer
        claimed = Claimed(number, keys, messages, spans, histories)
        if len(claimed.keys) < n:
            seconds = 0.0 if due == _AGAIN else float(due) if due else math.inf
            self._drained_until = SYSTEM.monotonic() + min(seconds, self._server.slice)
        self._passed_over = due == _AGAIN and not keys
        leases = self._with_inputs(self._leases(claimed)) if keys else []
        self._heard, self._unsure = number, False  # only now: what raised before is given again
        return leases

    def _leases(self, claimed: Claimed) -> list[Lease]:
        try:
            leases = claimed.together()
        except Undecodable:
            return self._separate(claimed)
        self._held.update(zip([lease.token for lease in leases], claimed.keys, strict=True))
        return leases

    def _separate(self, claimed: Claimed) -> list[Lease]:
        """Something is wrong with one of them: it dies, the others are received."""
        messages = self._server.command("HMGET", self._server.key("jobs"), *claimed.keys)
        leases, bad = claimed.separately(messages)
        self._held.update((lease.token, claimed.key_of(lease.token)) for lease in leases)
        if bad:
            batch = SettleBatch(self._held)
            for token, why in bad:
                batch.bury(claimed.key_of(token), token, Dead(Failure(UNDECODABLE, why, at=SYSTEM.now()), counted=False))
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
        for start in range(0, len(fields), _INPUTS):
            part = fields[start : start + _INPUTS]
            found = self._server.command_on(self._line, "HMGET", self._server.key("inputs"), *part)
            inputs += [value or b"" for value in found]  # none: of a lease that is lost by now
        at = 0
        for lease in leases:
            if lease.job.constraints is not None:
                lease.inputs = inputs[at : (at := at + len(lease.job.constraints.after))]
        return leases

    def settle(self, settlements: Sequence[Settlement], *, started: Sequence[Lease] = ()) -> list[Lease]:
        batch = SettleBatch(self._held)
        batch.entry(started)
        for settlement in settlements:
            batch.add(settlement)
        if batch.size:
            refused = self._server.call("settle", self.id, *batch.values(), again=False)
            batch.settled(refused)
        return batch.refused

    def extend(self) -> Pulse:
        if self._over:
            return Pulse(False)
        answer = self._server.call("extend", self.id, repr(float(self._lease)), *self._queues)
        if answer is None:
            self._lose()
            return Pulse(False)
        return Pulse(True, [codec.decode_job(message).id for message in answer])

    def pause(self, queues: Collection[str], tasks: Collection[str]) -> None:
        paused = sorted(queues)
        but = blake2b("\0".join(paused).encode(errors="surrogatepass"), digest_size=8).hexdigest() if paused else ""
        self._aim("" if self._queues else but, paused, list(tasks))
        if not self._queues:
            self._server.call("pause", self.id, but, *paused)
        self._drained_until = 0.0
        self._ring("look")

    def wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        self._ring("wake")

    def _ring(self, why: str) -> None:
        with contextlib.suppress(BrokerError):  # then the receive that waits ends, or looks, within a second by itself
            self._server.command("LPUSH", self._bell, why)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.wake()
        self._lose()
        with self._receiving:
            self._line.close()
        self._server.call("dismiss", self.id, "")

    def _lose(self) -> None:
        self._over = True
        self._held.clear()
