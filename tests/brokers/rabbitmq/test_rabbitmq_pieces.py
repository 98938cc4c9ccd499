"""What needs no server: ways through the delay queues, joined acknowledgements, what a header tells of a dead worker."""

from __future__ import annotations

import itertools
import math
from unittest.mock import MagicMock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.brokers.rabbitmq import envelope as envelopes
from longboat.brokers.rabbitmq.hands import Hands, Held
from longboat.brokers.rabbitmq.link import Publish, Unroutable
from longboat.brokers.rabbitmq.names import MOST_LEVELS, STEPS, Names, address, cut, key_of, levels, units_of
from longboat.brokers.rabbitmq.receiver import RabbitmqReceiver
from longboat.connect import connect
from longboat.contract.carrier import FAILURES_ROOM, Envelope, Message
from longboat.core.codec import decode_failures
from longboat.core.job import Failure
from longboat.core.reasons import WORKER_DIED
from longboat.errors import BrokerUnavailable, ConfigError

BOOM = Failure("builtins.ValueError", "boom")


def hands(tags: int) -> tuple[Hands, list[Held]]:
    made, helds = Hands(1), []
    for tag in range(1, tags + 1):
        held = Held("q", b"", Envelope(), tag)
        made.arrived(held)
        made.take(held)
        helds.append(held)
    return made, helds


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_acknowledgements_cover_what_is_settled_and_nothing_else(first: list[bool], data: st.DataObject) -> None:
    made, helds = hands(len(first))
    second = data.draw(st.lists(st.booleans(), min_size=len(first), max_size=len(first)))
    open_ = {held.tag for held in helds}
    for chosen in (first, second):
        done = [held for held, yes in zip(helds, chosen, strict=True) if yes and held.tag in open_]
        upto, singles = made.finish(done)
        acknowledged = {tag for tag in open_ if tag <= upto} | set(singles)
        assert acknowledged == {held.tag for held in done}
        open_ -= acknowledged
    assert made.leased == [len(open_)]


@pytest.fixture
def receiver() -> RabbitmqReceiver:
    """With three messages in its hand, of a server that takes no message."""
    session, link = MagicMock(names=Names("p"), timeout=1.0), MagicMock(lost=None)
    session.send.side_effect = BrokerUnavailable("its memory alarm")
    link.post.side_effect = lambda call: call(link.channel)
    made = RabbitmqReceiver(session, link, ["q"], lease=10.0, hold=600.0, name="w")
    for tag in (1, 2, 3):
        held = Held("q", b"", Envelope(), tag)
        made._hands.arrived(held)
        made._incoming.arrived[0].append(held)
    return made


def test_what_cannot_be_given_back_stays_in_the_hand(receiver: RabbitmqReceiver) -> None:
    receiver._give_back(receiver._incoming.untaken(), None)
    assert [each.tag for each in receiver._incoming.arrived[0]] == [1, 2, 3]
    assert [each.tag for each in receiver._take(5)[0]] == [1, 2, 3]


def test_what_was_given_out_and_cannot_be_published_anew_is_told_once(receiver: RabbitmqReceiver) -> None:
    """And is acknowledged once, when that succeeds later."""
    taken, _ = receiver._take(1)
    taken[0].own = True
    session, link = receiver._session, receiver._link
    with pytest.raises(BrokerUnavailable):
        receiver.reject(taken)
    assert (session.send.call_count, link.channel.basic_ack.call_count) == (1, 0)  # type: ignore[attr-defined]  # mocks
    session.send.side_effect = None  # type: ignore[attr-defined]  # a mock
    receiver.reject(taken)
    receiver.acknowledge(taken)
    link.channel.basic_ack.assert_called_once_with(1, multiple=True)


def test_a_delivery_that_takes_the_place_of_another_keeps_the_lease() -> None:
    made, (held, other) = hands(2)
    assert made.moved(1, 7) == 1
    assert made.out() == [held, other]
    assert made.own() == ([held], False)
    assert made.finish([other]) == (2, [])
    held.settling = True
    assert made.own() == ([], True)
    assert made.out() == []
    assert made.moved(1, 9) is None, "the copy of what somebody settles is dropped"
    assert made.finish([held]) == (7, [])


@pytest.mark.parametrize(("delay", "units"), [(0.0, 0), (0.001, 1), (0.02, 1), (0.021, 2), (1.0, 50)])
def test_a_delay_is_never_cut_short(delay: float, units: int) -> None:
    assert units_of(delay) == units


@given(st.integers(0, 2**STEPS - 1))
def test_a_key_names_the_delay_queues_whose_times_add_up(units: int) -> None:
    *bits, last = key_of(units, address("a.b", -1)).split(".", STEPS)
    assert sum(2**number for number, bit in zip(reversed(range(STEPS)), bits, strict=True) if bit == "1") == units
    assert last == "a%2Eb.-1"


def test_priorities_beyond_the_levels_count_as_the_nearest() -> None:
    assert [Names("p").level_of(each) for each in (2**31 - 1, 3, 1, 0, -1, -3)] == [2, 2, 1, 0, -1, -2]
    assert [levels(number) for number in (1, 2, 3, 5, 7)] == [
        (0,),
        (1, 0),
        (1, 0, -1),
        (2, 1, 0, -1, -2),
        (4, 3, 2, 1, 0, -1, -2),
    ]


@pytest.mark.parametrize("told", ["0", "31", "-1", "ten", ""])
def test_a_number_of_levels_that_cannot_be_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="levels must be a number from 1 to 30"):
        connect(f"amqp://localhost/?levels={told}")


def test_a_dead_worker_is_charged_for_what_it_noted() -> None:
    noted = Envelope(attempts=1, worker_deaths=2, token=9, started=2, worker="host-1")
    new = envelopes.given_up(noted, BOOM)
    assert (new.attempts, new.worker_deaths, new.token, new.started) == (2, 3, 0, 0)
    assert decode_failures(new.failures) == [msgspec.structs.replace(BOOM, attempt=2)]
    assert decode_failures(envelopes.given_up(noted).failures)[0].type == WORKER_DIED
    unnoted = envelopes.given_up(Envelope(attempts=1, token=9))
    assert (unnoted.attempts, unnoted.worker_deaths, unnoted.failures) == (1, 1, b"")
    assert envelopes.given_up(Envelope(attempts=1)) == Envelope(attempts=1)


def test_failures_of_any_text_fit_a_frame() -> None:
    envelope, wide = Envelope(), "\N{SHIP}"
    for attempt in range(1, 30):
        failure = Failure(wide * 30_000, wide * 30_000, wide * 30_000, attempt, 1.0, wide * 30_000)
        envelope = msgspec.structs.replace(envelope, attempts=attempt, failures=envelope.failed(failure))
        assert len(envelope.failures) <= FAILURES_ROOM
    kept = decode_failures(envelope.failures)
    assert [each.attempt for each in kept] == list(range(30 - len(kept), 30))
    assert len(kept) > 5


def test_headers_come_back_as_they_were() -> None:
    sent = Envelope(3, 1, b"f", 12.5, 99.25, b"w", 7.0, "copy", True, 4, 3, "host-1")
    headers = envelopes.headers_of(sent)
    assert envelopes.opened(headers, b"job", redelivered=False) == (sent, b"job")
    assert envelopes.opened({**headers, "x-delivery-count": 2}, b"", redelivered=True)[0].worker_deaths == 3
    assert envelopes.opened(None, b"", redelivered=True)[0].worker_deaths == 1
    chained = envelopes.publish_of(Names("x"), Message("1", "q", 0, b"job", Envelope(chain=b"steps")))
    assert envelopes.opened(chained.headers, chained.body, redelivered=False) == (Envelope(chain=b"steps"), b"job")


@pytest.mark.parametrize(
    "headers",
    [
        {"longboat-attempts": "x"},
        {"longboat-attempts": -1},
        {"longboat-failures": "x"},
        {"longboat-put": "x"},
        {"longboat-put": math.nan},
        {"longboat-ended": [1]},
        {"longboat-worker-deaths": None},
        {"longboat-token": 2.5},
        {"longboat-copy": 5},
        {"longboat-chain": "x"},
        {"longboat-chain": -1},
        {"longboat-chain": 9},
        {"x-delivery-count": "x"},
    ],
)
def test_headers_of_wrong_kinds_are_told_and_raise_nothing(headers: dict[str, object]) -> None:
    envelope, _ = envelopes.opened(headers, b"job", redelivered=False)
    assert envelope.unreadable.startswith("its headers cannot be read: ")
    assert envelopes.opened(envelopes.headers_of(envelope), b"", redelivered=False)[0].unreadable == envelope.unreadable
    assert envelopes.given_up(envelope) is envelope


@pytest.mark.parametrize("letter", ["q", "ü", "\N{SNOWMAN}", "\N{SHIP}", ".", "#"])
def test_a_name_has_room_in_amqp_or_is_refused(letter: str) -> None:
    names, longest = Names("longboat"), 0
    for size in range(1, 256):
        try:
            names.check([letter * size])
        except ConfigError as error:
            assert f"has {size * len(letter.encode())} bytes of UTF-8" in str(error)  # noqa: PT017  # one of many
        else:
            longest = size
    queue = letter * longest
    for each in (names.ready(queue, -2), f"{names.dead(queue)}.fence", key_of(2**STEPS - 1, address(queue, -2))):
        assert len(each.encode()) <= 255
    assert longest >= 190 // max(len(letter.encode()), len(address(letter, 0)) - 2)
    with pytest.raises(ConfigError, match=r"id .* has 256 bytes"):
        names.check([], ["x" * 253 + "\N{SNOWMAN}"])
    assert len(cut("\N{SNOWMAN}" * 255).encode()) <= 255
    names.check([], ["x" * 255, "\N{SNOWMAN}" * 85])


@given(queue=st.text("adehlvy.0-", min_size=1), other=st.text("adehlvy.0-", min_size=1))
def test_no_two_kinds_of_names_are_the_same(queue: str, other: str) -> None:
    names = Names("p")
    ready = {names.ready(queue, level) for level in levels(MOST_LEVELS)} | {names.agreed}
    kinds = [ready, {names.dead(other)}, {names.held(other)}, {names.ear(other)}, {names.step(n) for n in range(STEPS)}]
    for one, two in itertools.combinations(kinds, 2):
        assert not one & two
    assert names.is_held(names.held(other))
    assert not any(names.is_held(name) for kind in kinds if kind != {names.held(other)} for name in kind)


def test_an_error_about_deleted_queues_can_be_made_again_for_each_caller() -> None:
    error = Unroutable("amqp://host: a queue was deleted", [Publish("", "q", b"", {})])
    clone = type(error)(*error.args)
    assert (str(clone), clone.messages) == (str(error), error.messages)
    assert str(error) == "amqp://host: a queue was deleted"
