"""What a consumer holds: deliveries that are not acknowledged yet, by tag, and the leases given out of them."""

from __future__ import annotations

import time

import msgspec

from longboat.brokers.rabbitmq.envelope import Envelope
from longboat.contract.broker import Lease


class Held(msgspec.Struct, eq=False, gc=False):
    """One job in a consumer's hands."""

    queue: str
    body: bytes
    envelope: Envelope
    tag: int
    """Of the delivery that stands for it now."""
    since: float
    """When that delivery came (monotonic)."""
    lease: Lease | None = None
    worn: bool = False
    """Whether it was delivered so often that it must be published anew."""
    own: bool = False
    """Whether it lies in the consumer's own queue."""
    noted: bool = False
    """Whether its start is written there."""
    counted: bool = False
    """Whether it is among the leases that count against its subscription."""


class Hands:
    """Not locked: the consumer's lock guards it."""

    def __init__(self) -> None:
        self._by_tag: dict[int, Held] = {}
        """In the order of tags, so that acknowledgements can be joined."""
        self._by_token: dict[int, Held] = {}
        self.leased = 0
        """Leases that count against the present subscription."""

    def arrived(self, queue: str, body: bytes, envelope: Envelope, tag: int) -> Held:
        held = Held(queue, body, envelope, tag, time.monotonic())
        self._by_tag[tag] = held
        return held

    def take(self, held: Held) -> None:
        """It is not free for anybody else here; its token is its first tag."""
        self._by_token[held.tag] = held
        held.counted = True
        self.leased += 1

    def of(self, lease: Lease) -> Held | None:
        held = self._by_token.get(lease.token)
        return held if held is not None and held.lease is lease else None

    def claim(self, lease: Lease) -> Held | None:
        """What this lease holds, for the one who settles it."""
        held = self.of(lease)
        return None if held is None else self._by_token.pop(lease.token)

    def restore(self, held: Held) -> None:
        """It could not be settled."""
        if held.lease is not None:
            self._by_token[held.lease.token] = held

    def renew(self) -> None:
        """Another subscription begins, and nothing counts against it."""
        for held in self._by_tag.values():
            held.counted = False
        self.leased = 0

    def leases(self) -> list[Held]:
        return list(self._by_token.values())

    def own(self) -> tuple[list[Held], bool]:
        """The leases that lie in the consumer's own queue, and whether somebody settles others of these just now."""
        own = [held for held in self._by_tag.values() if held.own]
        free = [held for held in own if held.lease and held.lease.token in self._by_token]
        return free, len(free) < len(own)

    def moved(self, token: int, tag: int) -> int | None:
        """The job of this lease was delivered anew: the tag it had until now, or None where it is not held any more."""
        held = self._by_token.get(token)
        if held is None:
            return None
        old = held.tag
        self._gone(self._by_tag.pop(old, None))
        held.tag, held.own, held.since = tag, True, time.monotonic()
        self._by_tag[tag] = held
        return old

    def drop(self, helds: list[Held]) -> None:
        """Free messages that go back unused."""
        for held in helds:
            self._by_tag.pop(held.tag, None)

    def give_back(self, helds: list[Held]) -> list[int]:
        """These are not held any more; returns the tags of those that were."""
        tags = [held.tag for held in helds if held.tag in self._by_tag]
        for held in helds:
            if held.lease is not None:
                self._by_token.pop(held.lease.token, None)
            self._gone(self._by_tag.pop(held.tag, None))
        return tags

    def finish(self, helds: list[Held]) -> tuple[int, list[int]]:
        """These are over: (all up to this tag are acknowledged, and these one by one)."""
        done = {held.tag for held in helds}
        upto = 0
        for tag in self._by_tag:
            if tag not in done:
                break
            upto = tag
        for held in helds:
            self._gone(self._by_tag.pop(held.tag, None))
        return upto, sorted(tag for tag in done if tag > upto)

    def _gone(self, held: Held | None) -> None:
        if held is not None and held.counted:
            held.counted = False
            self.leased -= 1
