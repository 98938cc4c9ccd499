"""The search language: what is understood, what is found, and that pages of it are the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker, Settlement
from longboat.core import codec
from longboat.core.job import Dead, Failure, Job, State
from longboat.core.views import JobView, Page
from longboat.errors import ConfigError, Unsupported
from longboat.observe.history import fingerprint
from longboat.operate import search as searches
from longboat.operate.search import ORDER, Query, every, from_arguments, is_word, matches, parse, restrict, search, written
from longboat.operate.traces import Finds

WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
PHRASE = st.lists(WORD, min_size=1, max_size=3).map(" ".join)


@given(
    st.sets(st.sampled_from(list(State))),
    st.one_of(st.just(""), PHRASE),
    st.one_of(st.just(""), PHRASE),
    st.lists(st.tuples(st.just("user.id"), PHRASE), max_size=2),
)
def test_what_is_written_parses_to_the_same(states: set[State], queue: str, error: str, args: list[tuple[str, str]]) -> None:
    query = Query(tuple(state for state in ORDER if state in states), queue, error=error, args=tuple(args))
    assert parse(written(query)) == query


@given(st.text(max_size=40))
def test_any_text_is_a_search_or_says_why_not(text: str) -> None:
    try:
        query = parse(text)
    except ConfigError as error:
        assert "search" in str(error)  # noqa: PT017  # several errors are looked at
    else:
        assert parse(written(query)) == query


def test_what_is_understood() -> None:
    assert parse("state:dead,ready queue:mail args.user.id:42 'two words'") == Query(
        (State.READY, State.DEAD), "mail", args=(("user.id", "42"),), texts=("two words",)
    )
    assert parse("http://host it's") == Query(texts=("http://host", "it's"))


@pytest.fixture
def broker() -> Broker:
    broker = MemoryBroker()
    broker.put(
        [Job(1, f"m{n}", "mail.send", codec.encode({"user": {"id": n, "tags": ["a", "b"]}}), "mail") for n in range(5)]
    )
    broker.put([Job(1, f"r{n}", "report", b"\xc1", "slow", delay=n % 2 * 60.0) for n in range(4)])
    consumer = broker.consumer(["mail"], lease=10, name="w1")
    one, two, _ = consumer.receive(3, wait=0)
    failure = Failure("OSError", "relay 17 is Down", "", 1, 1.0, "w1")
    consumer.settle([Settlement(one, Dead(failure)), Settlement(two, Dead(Failure("KeyError", "x", worker="w1")))])
    return broker


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("state:dead", "m0 m1"),
        ("state:running", "m2"),
        ("queue:slow", "r0 r1 r2 r3"),
        ("queue:s* state:scheduled", "r1 r3"),
        ("task:mail.*", "m0 m1 m2 m3 m4"),
        ("task:report state:ready", "r0 r2"),
        ("id:m3,r1,unknown", "m3 r1"),
        ("id:m3 state:dead", ""),
        ("error:down", "m0"),
        ("error:oserror*down", "m0"),
        ("args.user.id:3", "m3"),
        ("args.user.tags.1:b", "m0 m1 m2 m3 m4"),
        ("args.user.tags.9:b", ""),
        ("args:'\"id\":4'", "m4"),
        ("worker:w1 state:dead", "m0 m1"),
        ("report", "r0 r1 r2 r3"),
        ("KEYERR", "m1"),
        (f"failure:{fingerprint('mail.send', Failure('OSError', 'relay 99 is Down'))}", "m0"),
        ("", "m0 m1 m2 m3 m4 r0 r1 r2 r3"),
    ],
)
def test_what_is_found(broker: Broker, text: str, ids: str) -> None:
    query = parse(text)
    found = [job.id for jobs in every(broker, query, limit=2) for job in jobs]
    assert sorted(found) == ids.split()
    assert all(matches(query, job) for job in broker.inspector.find(found) if job)


def test_each_search_looks_at_a_bounded_number(broker: Broker) -> None:
    broker.put([Job(1, f"x{n:05}", "many", b"\x80", "many") for n in range(7000)])
    found = search(broker, parse("state:ready args.no:1"), limit=50)
    assert found.jobs == []
    assert found.after is not None
    assert 5000 <= found.looked < 5200
    assert search(broker, parse("state:ready args.no:1"), after=found.after, limit=50).after is None


def test_an_end_of_another_search_is_refused(broker: Broker) -> None:
    with pytest.raises(ConfigError, match="not where this search ended"):
        search(broker, parse("state:dead"), after="ready:")


@pytest.mark.parametrize("text", ["", "task:mail.*", "queue:many", "args.no:1"])
def test_no_search_finds_more_than_its_limit(broker: Broker, text: str) -> None:
    broker.put([Job(1, f"x{n:02}", "many", codec.encode({"no": n % 3}), "many") for n in range(40)])
    query, after, ids = parse(text), None, list[str]()
    while True:
        found = search(broker, query, after=after, limit=3)
        assert len(found.jobs) <= 3
        ids += [job.id for job in found.jobs]
        after = found.after
        if after is None:
            break
    assert len(ids) == len(set(ids))
    assert sorted(ids) == sorted(job.id for jobs in every(broker, query, limit=500) for job in jobs)


class Unlisting:
    """Of a broker that lists no job which has ended."""

    def __init__(self, broker: Broker) -> None:
        self.kv, self._inspector = broker.kv, broker.inspector

    @property
    def inspector(self) -> Finds:
        return self

    def counts(self) -> Mapping[tuple[str, State], int]:
        return self._inspector.counts()

    def find(self, ids: Sequence[str]) -> list[JobView | None]:
        return self._inspector.find(ids)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        if state.ended:
            raise Unsupported("jobs that have ended are not listed")
        return self._inspector.jobs(state, queue=queue, task=task, after=after, limit=limit)


def test_states_that_are_not_listed_end_no_search(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when it stops before the first of them and goes on from there."""
    monkeypatch.setattr(searches, "SECONDS", 0.0)
    broker.put([Job(1, "one", "many", b"\x80", "many")])
    found = search(Unlisting(broker), parse("queue:many"), limit=50)
    names, unlisted = [job.id for job in found.jobs], [*found.unlisted]
    while found.after is not None:
        found = search(Unlisting(broker), parse("queue:many"), after=found.after, limit=50)
        names += [job.id for job in found.jobs]
        unlisted += found.unlisted
    assert names == ["one"]
    assert {state for state in State if state.ended} == set(unlisted)
    with pytest.raises(Unsupported, match="are not listed"):
        search(Unlisting(broker), parse("state:dead"))


def test_arguments_of_a_command_are_parts_or_whole_searches() -> None:
    assert from_arguments(["error:two words", "queue:mail"]) == Query(queue="mail", error="two words")
    assert from_arguments(["state:dead 'error:two words'", "two words"]) == Query(
        (State.DEAD,), error="two words", texts=("two words",)
    )
    assert is_word("state:dead")
    assert is_word("'error:two words' queue:mail")
    assert not is_word("mail:17")


def test_words_that_do_not_apply_are_refused() -> None:
    assert restrict(parse("queue:q text"), ("queue",), "queues") == parse("queue:q text")
    with pytest.raises(ConfigError, match=r"args: does not apply to queues; use queue:, state: or free text"):
        restrict(parse("queue:q args.x:1"), ("queue", "state"), "queues")
