"""A server among its clients: who waits blocks nobody, lost answers come again, an end is told, restarts are survived."""

from __future__ import annotations

import os
import socket
import threading
import time
from multiprocessing.managers import BaseManager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from msgspec import structs

from longboat.brokers.manager import PlainManager, wire
from longboat.brokers.manager.dispatcher import Dispatcher
from longboat.brokers.memory import MemoryBroker
from longboat.brokers.sqlite import SqliteBroker
from longboat.contract.broker import Settlement
from longboat.core.job import Done, State
from longboat.errors import BrokerError, BrokerUnavailable, TooLarge
from tests.rigs.manager import KEY, Relay, client, job, served


def test_who_waits_blocks_nobody() -> None:
    with served() as server, client(server) as broker:
        consumers = [broker.consumer(["empty"], lease=60.0) for _ in range(8)]
        threads = [threading.Thread(target=consumer.receive, args=(1,), kwargs={"wait": 5.0}) for consumer in consumers]
        listener = broker.results.listen()
        listener.watch(["nobody"])
        threads.append(threading.Thread(target=listener.wait, args=(5.0,)))
        for thread in threads:
            thread.start()
        took = []
        for _ in range(50):
            began = time.perf_counter()
            broker.put([job()])
            consumers[0].extend()
            took.append(time.perf_counter() - began)
        assert sorted(took)[25] < 0.05
        assert all(thread.is_alive() for thread in threads)
        for consumer in consumers:
            consumer.wake()
        listener.wake()
        for thread in threads:
            thread.join()
        for consumer in consumers:
            consumer.close()
        listener.close()


def test_a_claim_whose_answer_was_lost_is_given_again() -> None:
    with served() as server:
        relay = Relay(server.address)
        try:
            with client(relay.address) as broker:
                sent = [job() for _ in range(3)]
                consumer = broker.consumer(["q"], lease=60.0)
                assert consumer.receive(1, wait=0.0) == []
                broker.put(sent)
                relay.cut.set()
                with pytest.raises(BrokerUnavailable):
                    consumer.receive(3, wait=0.0)
                assert relay.lost.is_set()
                assert broker.inspector.counts() == {("q", State.RUNNING): 3}
                first = consumer.receive(2, wait=0.0)  # fewer than were claimed
                leases = first + consumer.receive(2, wait=0.0)
                assert (len(first), [lease.job for lease in leases]) == (2, sent)
                assert consumer.settle([Settlement(lease, Done(b"")) for lease in leases]) == []
                consumer.close()
        finally:
            relay.close()


def test_a_claim_that_comes_late_takes_nothing() -> None:
    """It was sent on a connection that was given up, and asked again since."""
    with served() as server, client(server) as broker:
        consumer = broker.consumer(["q"], lease=60.0)
        broker.put([job() for _ in range(3)])
        calls = broker.calls
        first = calls.call(wire.RECEIVE, consumer.id, 1, 1, 0.0)
        second = calls.call(wire.RECEIVE, consumer.id, 2, 1, 0.0)
        late = calls.call(wire.RECEIVE, consumer.id, 1, 1, 0.0)
        assert late.leases[0].number == second.leases[0].number != first.leases[0].number
        assert broker.inspector.counts() == {("q", State.RUNNING): 2, ("q", State.READY): 1}
        consumer.close()


def test_a_put_whose_answer_was_lost_makes_no_second_job() -> None:
    with served() as server:
        relay = Relay(server.address)
        try:
            with client(relay.address) as broker:
                broker.inspector.counts()
                relay.cut.set()
                sent = job()
                with pytest.raises(BrokerUnavailable):
                    broker.put([sent], token=("caller", 1))
                assert broker.put([sent], token=("caller", 1)) == [sent.id]
                assert broker.inspector.counts() == {("q", State.READY): 1}
        finally:
            relay.close()


def test_a_result_whose_answer_was_lost_is_told_again() -> None:
    with served() as server:
        relay = Relay(server.address)
        try:
            with client(relay.address) as broker, client(server) as other:
                sent = job()
                broker.put([sent])
                listener = broker.results.listen()
                listener.watch([sent.id])
                assert listener.wait(0.0) == []
                with_it = other.consumer(["q"], lease=60.0)
                with_it.settle([Settlement(with_it.receive(1, wait=1.0)[0], Done(b"v"))])
                relay.cut.set()
                with pytest.raises(BrokerUnavailable):
                    listener.wait(1.0)
                assert [result.value for result in listener.wait(5.0)] == [b"v"]
                listener.close()
                with_it.close()
        finally:
            relay.close()


def test_a_frozen_server_is_told_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, client(silent.getsockname()[:2], timeout=0.5) as broker:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="did not answer"):
            broker.put([job()])
        assert time.monotonic() - began < 0.6


def test_nobody_there_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()[:2]
    with client(address) as broker, pytest.raises(BrokerUnavailable, match="cannot be reached"):
        broker.put([job()])


def test_clients_go_on_after_a_restart_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with served(SqliteBroker(path)) as server:
        address = server.address
        broker_of = client(server)
        broker = broker_of.__enter__()
        sent = [job(), job()]
        broker.put(sent)
        consumer = broker.consumer(["q"], lease=60.0)
        listener = broker.results.listen()
        listener.watch([sent[0].id])
        (held,) = consumer.receive(1, wait=1.0)
    with pytest.raises(BrokerUnavailable):
        broker.put([job()])
    with served(SqliteBroker(path), address[1]):
        assert not consumer.extend().alive
        assert consumer.settle([Settlement(held, Done(b"stale"))]) == [held]
        consumer.close()
        again = broker.consumer(["q"], lease=60.0)
        leases = again.receive(2, wait=1.0)
        assert [(lease.job.id, lease.attempt) for lease in leases] == [(sent[0].id, 1), (sent[1].id, 1)]
        assert again.settle([Settlement(lease, Done(b"good")) for lease in leases]) == []
        assert [result.value for result in listener.wait(5.0)] == [b"good"]
        again.close()
        listener.close()
        broker_of.__exit__(None, None, None)


def test_listeners_are_told_of_an_expiry_without_any_worker() -> None:
    with served() as server, client(server) as broker:
        sent = structs.replace(job(), expires=0.1)
        broker.put([sent])
        listener = broker.results.listen()
        listener.watch([sent.id])
        assert [result.state for result in listener.wait(5.0)] == [State.CANCELLED]
        listener.close()


def test_an_end_hands_back_what_is_held() -> None:
    store = MemoryBroker()
    with served(store) as server, client(server) as broker:
        broker.put([job()])
        consumer = broker.consumer(["q"], lease=60.0)
        assert len(consumer.receive(1, wait=1.0)) == 1
        server.close()
        assert store.inspector.counts() == {("q", State.READY): 1}


def test_large_jobs_come_in_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ROOM", 2500)
    with served() as server, client(server) as broker:
        sent = [job(bytes(1000)) for _ in range(7)]
        broker.put(sent)
        consumer = broker.consumer(["q"], lease=60.0)
        batches = [consumer.receive(10, wait=0.0) for _ in range(5)]
        assert [len(batch) for batch in batches] == [2, 2, 2, 1, 0]
        leases = [lease for batch in batches for lease in batch]
        assert [lease.job for lease in leases] == sent
        assert consumer.settle([Settlement(lease, Done(bytes(1000))) for lease in leases], started=leases) == []
        consumer.close()


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from longboat.brokers.manager import frames

    with served() as server, client(server) as broker:
        sent = [job(bytes(1000)) for _ in range(10)]
        broker.put(sent)
        monkeypatch.setattr(frames, "FRAME_LIMIT", 4000)
        ids = [each.id for each in sent]
        assert [view.id for view in broker.inspector.find(ids) if view] == ids
        assert [view.id for view in broker.inspector.jobs(State.READY).jobs] == ids[:3]
        with pytest.raises(TooLarge):
            broker.put([job(bytes(5000))])
        assert broker.inspector.counts() == {("q", State.READY): 10}


def test_clients_can_call_nothing_else() -> None:
    with served() as server, client(server) as broker:
        until = time.monotonic() + 2
        connection = broker.calls.connect(until)
        for published, name in (("dispatcher", "close"), ("dispatcher", "__init__"), ("0", "shutdown")):
            connection.send((published, name, (), {}))
            assert connection.recv()[0] in ("#TRACEBACK", "#ERROR")
        connection.close()
        assert broker.inspector.counts() == {}


def test_what_is_no_request_is_refused() -> None:
    dispatcher = Dispatcher(MemoryBroker())
    with pytest.raises(BrokerError, match="older version"):
        dispatcher.call("juggle", b"")
    with pytest.raises(BrokerError, match="does not understand this"):
        dispatcher.call("Broker.put", b"\x91\x01")


def test_a_child_opens_its_own_connections() -> None:
    with served() as server, client(server) as broker:
        broker.put([job()])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                broker.put([job()])
                os.write(write, b"well")
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as end:
            assert end.read() == b"well"
        os.waitpid(child, 0)
        broker.put([job()])
        assert broker.inspector.counts() == {("q", State.READY): 3}


def test_a_queue_can_be_shared_with_plain_data_only() -> None:
    """What docs/manager.md shows, with the standard library's own proxies."""

    class Master(PlainManager):
        pass

    class Worker(PlainManager):
        pass

    queue: Queue[Any] = Queue()
    Master.register("tasks", callable=lambda: queue)
    Worker.register("tasks")
    server = Master(("127.0.0.1", 0), KEY).get_server()
    thread = threading.Thread(target=server.accepter)
    thread.start()
    worker = Worker(server.listening.address, KEY)
    assert isinstance(worker, BaseManager)
    worker.connect()
    shared = worker.tasks()  # type: ignore[attr-defined]  # what this adapter has of its own
    shared.put([1, "two"])
    assert queue.get(timeout=5) == [1, "two"]
    with pytest.raises(TypeError, match="not plain data"):
        shared.put(object())
    del shared
    server.end()
    thread.join()
