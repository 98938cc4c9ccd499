"""What a receiver holds: deliveries that are not acknowledged yet, by tag, and those of them that were given out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from longboat.contract.carrier import Delivery, Envelope, Message


class Held(Delivery, eq=False, gc=False):
    """One message in a receiver's hands."""

    level: int = 0
    place: int = 0
    """Of its queue and level, among those of its receiver."""
    since: float = 0.0
    """When the delivery that stands for it now came (monotonic)."""
    worn: bool = False
    """It was delivered so often that it must be published anew."""
    own: bool = False
    """It lies in the receiver's own queue."""
    noted: bool = False
    """Its start is written there."""
    counted: bool = False
    """It came by the present subscription."""
    token: int = 0
    """Its first tag, once it was given out."""

    def message(self, envelope: Envelope) -> Message:
        return Message(self.id, self.queue, self.level, self.body, envelope)


class Hands:
    """Not locked: the receiver's lock guards it."""

    def __init__(self, places: int) -> None:
        self._by_tag: dict[int, Held] = {}
        """In the order of tags, so that acknowledgements can be joined."""
        self._out: dict[int, Held] = {}
        """Those given out, by token."""
        self.leased = [0] * places
        """How many of those given out came by the present subscription, by place."""

    def arrived(self, held: Held) -> None:
        held.since = time.monotonic()
        held.counted = True
        self._by_tag[held.tag] = held

    def take(self, held: Held) -> None:
        """It is given out. Its token is its first tag."""
        held.token = held.tag
        self._out[held.tag] = held
        if held.counted:
            self.leased[held.place] += 1

    def renew(self) -> None:
        """Another subscription begins, and nothing has come by it."""
        for held in self._by_tag.values():
            held.counted = False
        self.leased = [0] * len(self.leased)

    def out(self) -> list[Held]:
        return [held for held in self._out.values() if not held.settling]

    def own(self) -> tuple[list[Held], bool]:
        """Those given out that lie in the receiver's own queue, and whether others of these are being settled just now."""
        own = [held for held in self._by_tag.values() if held.own]
        free = [held for held in own if not held.settling]
        return free, len(free) < len(own)

    def moved(self, token: int, tag: int) -> int | None:
        """What was given out under this token was delivered anew. Returns the tag it had until now; None: it is not held."""
        held = self._out.get(token)
        if held is None or held.settling:
            return None
        old = held.tag
        self._drop_tag(old)
        held.tag, held.own, held.since = tag, True, time.monotonic()
        self._by_tag[tag] = held
        return old

    def put_back(self, deliveries: Sequence[Delivery]) -> list[Held]:
        """These are not given out any more, but held; returns those that were."""
        back = [held for each in deliveries if (held := self._out.pop(each.tag, None))]
        for held in back:
            held.settling = False
            if held.counted:
                self.leased[held.place] -= 1
        return back

    def holds(self, held: Held) -> bool:
        """Whether it is neither acknowledged nor gone."""
        return self._by_tag.get(held.tag) is held

    def finish(self, deliveries: Sequence[Delivery]) -> tuple[int, list[int]]:
        """These are done with: (all up to this tag are acknowledged, and these one by one)."""
        done = {each.tag for each in deliveries} & self._by_tag.keys()  # the server closes the channel over an unknown one
        upto = 0
        for tag in self._by_tag:
            if tag not in done:
                break
            upto = tag
        for tag in done:
            self._drop_tag(tag, over=True)
        return upto, sorted(tag for tag in done if tag > upto)

    def _drop_tag(self, tag: int, *, over: bool = False) -> None:
        held = self._by_tag.pop(tag, None)
        if held is None:
            return
        out = (self._out.pop(held.token, None) if over else self._out.get(held.token)) is held
        if held.counted:
            held.counted = False
            self.leased[held.place] -= out
