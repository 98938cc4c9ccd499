"""Inputs, entries and pauses through the manager: what does not fit in a message comes in several, and none is lost."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from longboat.brokers.manager import ManagerBroker, frames, sessions, wire
from longboat.brokers.memory import MemoryBroker
from longboat.contract.broker import Broker, Consumer, Settlement
from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.core.constraints import Constraints
from longboat.core.job import Done, Job, State
from longboat.errors import BrokerUnavailable, TooLarge, UnknownParent
from tests.rigs.manager import Relay, client, job, served


def finished(broker: Broker, *results: bytes) -> list[Job]:
    """Jobs that have succeeded with these results."""
    jobs = [job() for _ in results]
    broker.put(jobs)
    consumer = broker.consumer(["q"], lease=60.0)
    left = list(results)
    while left:
        leases = consumer.receive(len(left), wait=1.0)
        consumer.settle([Settlement(lease, Done(left.pop(0))) for lease in leases])
    consumer.close()
    return jobs


def after(*parents: Job, queue: str = "q") -> Job:
    return structs.replace(job(queue=queue), constraints=Constraints(after=[parent.id for parent in parents]))


def counted(broker: ManagerBroker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the verbs that are called from now on."""
    names: list[str] = []
    ask = broker.calls.ask

    def asked(connection: Any, verb: Any, *rest: Any) -> Any:
        names.append(verb.name)
        return ask(connection, verb, *rest)

    monkeypatch.setattr(broker.calls, "ask", asked)
    return names


def test_ten_thousand_inputs_come_with_their_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryBroker()
    results = [b"%d" % n for n in range(10_000)]
    with served(store) as server, client(server) as broker:
        broker.put([after(*finished(store, *results))])
        consumer = broker.consumer(["q"], lease=60.0)
        names = counted(broker, monkeypatch)
        (lease,) = consumer.receive(5, wait=1.0)
        assert (list(lease.inputs), names) == (results, ["receive"])
        consumer.close()


def test_inputs_that_do_not_fit_come_in_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [bytes([n]) * 1000 for n in range(7)]
    with served() as server, client(server) as broker:
        parents = finished(broker, *results)
        broker.put([job(), after(*parents), after(parents[0]), job()])
        monkeypatch.setattr(wire, "ROOM", 2500)
        consumer = broker.consumer(["q"], lease=60.0)
        names = counted(broker, monkeypatch)
        batches = [consumer.receive(10, wait=0.0) for _ in range(4)]
        assert [[list(lease.inputs) for lease in batch] for batch in batches] == [[[]], [results], [results[:1], []], []]
        assert names == ["receive", "receive", *["inputs"] * 4, "receive", "receive"]
        settlements = [Settlement(lease, Done(b"")) for batch in batches for lease in batch]
        assert consumer.settle(settlements) == []
        consumer.close()


def test_inputs_over_the_limit_of_a_frame_are_told() -> None:
    """Seventy megabytes: more than a frame may have, even among many answers."""
    store = MemoryBroker()
    with served(store) as server, client(server, timeout=20.0) as broker:
        parents = finished(store, *[bytes(1_000_000)] * 70)
        broker.put([after(*parents)])
        consumer = broker.consumer(["q"], lease=60.0)
        (lease,) = consumer.receive(1, wait=1.0)
        assert list(lease.inputs) == [bytes(1_000_000)] * 70
        assert consumer.settle([Settlement(lease, Done(b""))]) == []
        consumer.close()


def test_inputs_whose_answer_was_lost_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ROOM", 2500)
    results = [bytes([n]) * 1000 for n in range(7)]
    with served() as server:
        relay = Relay(server.address)
        try:
            with client(relay.address) as broker, client(server) as other:
                child = after(*finished(other, *results))
                consumer = broker.consumer(["q"], lease=60.0)
                other.put([child])
                cut_at(broker, "inputs", relay, monkeypatch)
                with pytest.raises(BrokerUnavailable):
                    consumer.receive(1, wait=0.0)
                assert relay.lost.is_set()
                assert other.inspector.counts()["q", State.RUNNING] == 1
                (lease,) = consumer.receive(1, wait=0.0)
                assert (lease.job.id, list(lease.inputs)) == (child.id, results)
                consumer.close()
        finally:
            relay.close()


def cut_at(broker: ManagerBroker, name: str, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first call of this verb is lost."""
    ask = broker.calls.ask

    def asked(connection: Any, verb: Any, *rest: Any) -> Any:
        if verb.name == name and not relay.lost.is_set():
            relay.cut.set()
        return ask(connection, verb, *rest)

    monkeypatch.setattr(broker.calls, "ask", asked)


def test_a_lease_whose_inputs_are_gone_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was started again between the lease and its inputs: then the lease is lost as well."""
    monkeypatch.setattr(wire, "ROOM", 2500)
    with served() as server, client(server) as broker:
        broker.put([after(*finished(broker, *[bytes(1000)] * 7))])
        consumer = broker.consumer(["q"], lease=60.0)
        monkeypatch.setattr(sessions.ConsumerSession, "inputs", lambda *_: None)
        assert consumer.receive(1, wait=0.0) == []
        assert not consumer.extend().alive
        consumer.close()


def test_an_unknown_parent_is_told_by_name() -> None:
    with served() as server, client(server) as broker:
        sent = after(job())
        with pytest.raises(UnknownParent, match=sent.id):
            broker.put([sent])
        assert broker.inspector.counts() == {}


def test_notes_that_do_not_fit_come_in_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ROOM", 2500)
    with served() as server, client(server) as broker:
        entries = [(f"{n:02}", bytes([n]) * 1000) for n in range(9)]
        broker.kv.write("s", [Entry(*each) for each in entries])
        names = counted(broker, monkeypatch)
        assert broker.kv.entries("s") == entries
        assert set(names) == {"KV.entries"}
        assert len(names) >= 5
        assert broker.kv.entries("s", after="01", before="07", limit=4) == entries[2:6]


def test_notes_over_a_frame_are_read_in_parts_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as server, client(server) as broker:
        keys = [f"{n}" for n in range(10)]
        broker.kv.write("s", [Entry(key, bytes(1000)) for key in keys])
        monkeypatch.setattr(frames, "FRAME_LIMIT", 4000)
        assert broker.kv.read("s", [*keys, "no"]) == [bytes(1000)] * 10 + [None]
        with pytest.raises(TooLarge, match="over the limit"):
            broker.kv.write("s", [Entry(key, bytes(2000)) for key in keys])
        assert broker.kv.read("s", keys[:1]) == [bytes(1000)]


def test_a_note_over_its_limit_is_told_by_the_store() -> None:
    with served() as server, client(server) as broker, pytest.raises(TooLarge, match="'a' of 's'"):
        broker.kv.compare_and_set("s", Entry("a", bytes(ENTRY_LIMIT + 1)), old=None)


@pytest.mark.parametrize("where", ["at the server", "here"])
def test_a_pause_holds_for_what_was_claimed_and_not_given(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that did not fit in an answer, or came with one that was lost, go back to their queue, uncharged."""
    monkeypatch.setattr(wire, "ROOM", 2500 if where == "at the server" else 16_000_000)
    with served() as server:
        relay = Relay(server.address)
        try:
            with client(relay.address) as broker, client(server) as other:
                consumer: Consumer = broker.consumer(["a", "b"], lease=60.0)
                assert consumer.receive(1, wait=0.0) == []
                sent = [job(bytes(1000), queue) for queue in "aaaab"]
                other.put(sent)
                if where == "here":
                    relay.cut.set()
                    with pytest.raises(BrokerUnavailable):
                        consumer.receive(5, wait=0.0)
                first = consumer.receive(5 if where == "at the server" else 2, wait=0.0)
                assert [lease.job for lease in first] == sent[:2]
                consumer.pause(["a"], [])
                assert [lease.job for lease in consumer.receive(5, wait=0.0)] == sent[4:]
                assert consumer.receive(5, wait=0.0) == []
                assert other.inspector.counts() == {("a", State.READY): 2, ("a", State.RUNNING): 2, ("b", State.RUNNING): 1}
                consumer.pause([], [])
                leases = consumer.receive(5, wait=0.0)
                assert [(lease.job, lease.attempt) for lease in leases] == [(sent[2], 1), (sent[3], 1)]
                consumer.close()
        finally:
            relay.close()
