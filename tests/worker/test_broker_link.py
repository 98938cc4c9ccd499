"""The worker's tie to its broker: what it says of the broker is what the broker did."""

from __future__ import annotations

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Consumer
from longboat.errors import BrokerUnavailable
from longboat.observe.events import BrokerDown, BrokerUp, Bus, Event
from longboat.worker.broker_link import BrokerLink
from longboat.worker.options import options


class Heard(Bus):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def test_a_broker_that_was_not_asked_does_not_answer_again() -> None:
    heard = Heard()
    link = BrokerLink(MemoryBroker(), options(), ["t"], "w", heard)
    answers: list[BrokerUnavailable | list[int] | None] = [BrokerUnavailable("down"), None, []]

    def call(_: Consumer) -> list[int] | None:
        answer = answers.pop(0)
        if isinstance(answer, BrokerUnavailable):
            raise answer
        return answer

    assert link.attempt(call, otherwise=None) is None
    assert not link.up
    assert [type(event) for event in heard.events] == [BrokerDown]
    assert link.attempt(call, otherwise=None) == []
    assert link.up
    assert [type(event) for event in heard.events] == [BrokerDown, BrokerUp]
    link.close()
