"""A carrier in memory: it keeps the contract of carriers, so that the companion runs without a server."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import structs

from longboat.contract.capabilities import WHOLE_CONTRACT
from longboat.contract.carrier import Delivery, Message, Place
from longboat.core.bounds import LONGEST
from longboat.core.clock import SYSTEM, Clock
from longboat.core.job import Failure, State, new_id, order_of


class _Queue:
    """Of one queue, or of its dead jobs: messages in order."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, int, Message]] = []
        """By priority and place; the third number only tells equals apart."""


class MemoryCarrier:
    """Messages have any priority, and stay in the order in which their jobs were made. Goes by the clock."""

    name = "The carrier in memory"
    namespace = "memory"
    longest_delay = LONGEST
    capabilities = WHOLE_CONTRACT

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self.clock = clock
        self.changed = threading.Condition(threading.RLock())
        self.receivers: dict[str, MemoryReceiver] = {}
        self.tags = itertools.count(1)
        self._ready: dict[str, _Queue] = {}
        self._dead: dict[str, _Queue] = {}
        self._delayed: list[tuple[float, int, Message]] = []
        self._numbers = itertools.count()
        self._places: dict[str, tuple[int, int]] = {}
        """By job: its place, and how many messages it has."""
        self._ears: list[MemoryEar] = []
        self._mailboxes: dict[str, MemoryMailbox] = {}

    def check(self, queues: object, ids: object = ()) -> None:
        """Any names do."""

    def send(self, messages: Sequence[Message]) -> None:
        with self.changed:
            for message in messages:
                made = order_of(message.id) or order_of(new_id()) or 0
                place, number = self._places.get(message.id, (made, 0))
                self._places[message.id] = (place, number + 1)
                if message.delay > 0:
                    due = self.clock.now() + message.delay
                    heapq.heappush(self._delayed, (due, next(self._numbers), structs.replace(message, delay=0.0)))
                else:
                    self.give_back(message)
            self.changed.notify_all()

    def give_back(self, message: Message) -> None:
        """To its place, in its queue or among its dead jobs."""
        queue = (self._dead if message.dead else self._ready).setdefault(message.queue, _Queue())
        place, _ = self._places[message.id]
        heapq.heappush(queue.waiting, (-message.priority, place, next(self._numbers), message))
        self.changed.notify_all()

    def done(self, message: Message) -> None:
        place, number = self._places.pop(message.id)
        if number > 1:
            self._places[message.id] = (place, number - 1)

    def next(self, queue: str) -> Message | None:
        there = self._ready.get(queue)
        return heapq.heappop(there.waiting)[-1] if there and there.waiting else None

    def by_time(self) -> float:
        """What is due is ready, and receivers that nobody extends are over. Returns when there will be more."""
        now = self.clock.now()
        while self._delayed and self._delayed[0][0] <= now:
            self.give_back(heapq.heappop(self._delayed)[-1])
        for receiver in list(self.receivers.values()):
            if receiver.deadline <= now:
                receiver.end(died=True)
        times = [receiver.deadline for receiver in self.receivers.values()]
        return min([*times, *(due for due, _, _ in self._delayed[:1])], default=now + 60.0) - now

    def ready(self, queues: Sequence[str]) -> int:
        return sum(len(queue.waiting) for name, queue in self._ready.items() if not queues or name in queues)

    def queues(self) -> list[str]:
        return sorted(name for name, queue in self._ready.items() if queue.waiting)

    def declare(self, queue: str, longest_delay: float) -> None:
        """Nothing needs to be made."""

    def receiver(self, queues: Sequence[str], *, lease: float, name: str = "", notified: bool = False) -> MemoryReceiver:  # noqa: ARG002  # as its protocol has it
        with self.changed:
            receiver = MemoryReceiver(self, list(queues), lease)
            self.receivers[receiver.id] = receiver
            self.changed.notify_all()
            return receiver

    def notify(self, receiver: str) -> None:
        with self.changed:
            if there := self.receivers.get(receiver):
                there.wake()

    def announce(self, body: bytes) -> None:
        with self.changed:
            ears = list(self._ears)
        for ear in ears:
            ear.heard(body)

    def listen(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> MemoryEar:  # noqa: ARG002  # as its protocol has it
        ear = MemoryEar(heard, self._forget)
        with self.changed:
            self._ears.append(ear)
        return ear

    def mailbox(self, address: str, heard: Callable[[bytes], None], lost: Callable[[], None]) -> MemoryMailbox:  # noqa: ARG002  # as its protocol has it
        with self.changed:
            mailbox = self._mailboxes[address] = MemoryMailbox(address, heard)
        return mailbox

    def tell(self, letters: Sequence[tuple[str, bytes]]) -> None:
        for address, body in letters:
            if (mailbox := self._mailboxes.get(address)) and not mailbox.lost:
                mailbox.heard(body)

    def _forget(self, ear: MemoryEar) -> None:
        with self.changed:
            if ear in self._ears:
                self._ears.remove(ear)

    def connected(self, receiver: str) -> bool:
        with self.changed:
            self.by_time()
            return receiver in self.receivers

    def evict(self, receiver: str, failure: Failure) -> int:  # noqa: ARG002  # as its protocol has it
        with self.changed:
            there = self.receivers.get(receiver)
            return there.end(died=True) if there else 0

    @contextmanager
    def look(self, wanted: Mapping[Place, Collection[str] | None]) -> Iterator[MemoryLook]:
        found = MemoryLook(self)
        with self.changed:
            for (name, priority), ids in wanted.items():
                queue = (self._dead if priority is None else self._ready).setdefault(name, _Queue())
                for each in [each for each in queue.waiting if priority in (None, -each[0])]:
                    if names := {each[-1].id, each[-1].envelope.copy} & set(ids if ids is not None else {each[-1].id}):
                        queue.waiting.remove(each)
                        found.add(each[-1], names.pop())
                heapq.heapify(queue.waiting)
        try:
            yield found
        finally:
            with self.changed:
                for message in found.held.values():
                    self.give_back(message)

    def depths(self) -> dict[tuple[str, State], int]:
        with self.changed:
            self.by_time()
            ready = {(name, State.READY): len(queue.waiting) for name, queue in self._ready.items()}
            dead = {(name, State.DEAD): len(queue.waiting) for name, queue in self._dead.items()}
            return {place: number for place, number in (ready | dead).items() if number}

    def dead_queues(self) -> list[str]:
        with self.changed:
            return sorted(self._dead)

    def close(self) -> None:
        """Messages stay, for whoever still uses this carrier."""


class MemoryEar:
    lost = False

    def __init__(self, heard: Callable[[bytes], None], forget: Callable[[MemoryEar], None]) -> None:
        self.heard = heard
        self._forget = forget

    def close(self) -> None:
        self._forget(self)


class MemoryMailbox:
    def __init__(self, address: str, heard: Callable[[bytes], None]) -> None:
        self.address = address
        self.heard = heard
        self.lost = False

    def close(self) -> None:
        self.lost = True


class MemoryLook:
    def __init__(self, carrier: MemoryCarrier) -> None:
        self.found: list[Delivery] = []
        self.held: dict[int, Message] = {}
        self._carrier = carrier

    def add(self, message: Message, name: str) -> None:
        tag = next(self._carrier.tags)
        self.held[tag] = message
        self.found.append(Delivery(message.queue, message.body, structs.replace(message.envelope), tag, id=name))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        with self._carrier.changed:
            for each in deliveries:
                self._carrier.done(self.held.pop(each.tag))


class MemoryReceiver:
    def __init__(self, carrier: MemoryCarrier, queues: list[str], lease: float) -> None:
        self.id = new_id()
        self.over = False
        self.deadline = carrier.clock.now() + lease
        self._carrier = carrier
        self._queues = queues
        self._lease = lease
        self._held: dict[int, Message] = {}
        self._noted: set[int] = set()
        self._paused: frozenset[str] = frozenset()
        self._nudged = False
        self._turns = itertools.count()
        self.waiting = self._served = False

    def receive(self, n: int, *, wait: float) -> list[Delivery]:
        carrier, changed = self._carrier, self._carrier.changed
        end = carrier.clock.monotonic() + wait
        with changed:
            while True:
                soon = carrier.by_time()
                left = end - carrier.clock.monotonic()
                deliveries = [] if self.over else self._take(self._part(n) if left > 0 else n)
                if deliveries or self._nudged or self.over or left <= 0:
                    self.waiting, self._served, self._nudged = False, bool(deliveries), False
                    changed.notify_all()  # what it left is the others'
                    return deliveries
                self.waiting = True
                changed.wait(max(0.0, min(left, soon)))

    def _part(self, n: int) -> int:
        """As a server hands out messages in turn to those that wait."""
        others = sum(
            each.waiting and each is not self and each._queues == self._queues for each in self._carrier.receivers.values()
        )
        ready = self._carrier.ready(self._queues)
        return n if not others or not ready else 0 if self._served else min(n, -(-ready // (others + 1)))

    def _take(self, n: int) -> list[Delivery]:
        taken: list[Delivery] = []
        queues = self._queues or self._carrier.queues()
        first = next(self._turns) % len(queues) if queues and not self._queues else 0
        for queue in queues[first:] + queues[:first]:
            while queue not in self._paused and len(taken) < n and (message := self._carrier.next(queue)):
                tag = next(self._carrier.tags)
                self._held[tag] = message
                taken.append(Delivery(queue, message.body, structs.replace(message.envelope), tag))
        return taken

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        with self._carrier.changed:
            for each in deliveries:
                if message := self._held.pop(each.tag, None):
                    self._carrier.done(message)

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        with self._carrier.changed:
            for each in deliveries:
                if message := self._held.pop(each.tag, None):
                    self._carrier.give_back(message)

    def note_started(self, deliveries: Sequence[Delivery]) -> None:
        self._noted.update(each.tag for each in deliveries)

    def extend(self) -> bool:
        with self._carrier.changed:
            self._carrier.by_time()
            self.deadline = self._carrier.clock.now() + self._lease
            return not self.over

    def pause(self, queues: Collection[str]) -> None:
        with self._carrier.changed:
            self._paused = frozenset(queues)
            self._carrier.changed.notify_all()

    def wake(self) -> None:
        with self._carrier.changed:
            self._nudged = True
            self._carrier.changed.notify_all()

    def close(self) -> None:
        with self._carrier.changed:
            self.end(died=False)

    def end(self, *, died: bool) -> int:
        """What it held goes back; returns how many."""
        if self._carrier.receivers.pop(self.id, None) is None:
            return 0
        self.over = True
        for message in self._held.values():
            past = message.envelope
            envelope = structs.replace(past, worker_deaths=past.worker_deaths + died)
            self._carrier.give_back(structs.replace(message, envelope=envelope))
        held, self._held = len(self._held), {}
        self._carrier.changed.notify_all()
        return held
