"""Frames that were changed, repeated, reflected or made too large are refused; what is sent is plain data."""

from __future__ import annotations

import socket
import struct
import time
from multiprocessing import AuthenticationError

import pytest

from longboat.brokers.manager import frames, wire
from longboat.brokers.manager.frames import FRAME_LIMIT, Connection
from longboat.brokers.manager.serializer import dumps, loads
from longboat.contract.broker import Lease, Settlement
from longboat.core.job import Cancelled, Dead, Done, Failure, Outcome, Park, Release, Retry
from longboat.errors import BrokerError, BrokerFull, TooLarge
from tests.rigs.manager import KEY, client, connections, exactly, job, served, tcp_pair


def _raw(connection: Connection) -> socket.socket:
    return connection._sock


def test_what_is_sent_arrives() -> None:
    with connections() as (near, far):
        for value in (None, [1, "zwei", b"\xff" * 200_000], {"a": [True, 2.5]}):
            near.send(value)
            assert far.recv() == value
            far.send(value)
            assert near.recv() == value


@pytest.mark.parametrize("at", [3, 4, 35, 36, -1], ids=["length", "tag", "tag's end", "body", "body's end"])
def test_a_changed_frame_is_refused(at: int) -> None:
    ours, theirs = tcp_pair()
    with ours, theirs, connections() as (near, far):
        near._sock, real = ours, _raw(near)
        near.send(["put", b"jobs"])
        near._sock = real
        frame = bytearray(theirs.recv(1 << 16))
        frame[at] ^= 1
        real.sendall(bytes(frame))
        real.shutdown(socket.SHUT_WR)
        with pytest.raises((AuthenticationError, EOFError)):  # of a longer length, the rest never comes
            far.recv()


def test_a_frame_from_somebody_else_shifts_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Were it answered, each later request would get the answer of the one before."""
    with served() as server, client(server) as broker:
        sent = job()
        broker.put([sent])
        (connection,) = broker.calls._idle
        _raw(connection).sendall(struct.pack(">I", 4) + bytes(32) + b"fake")
        _raw(connection).settimeout(5)
        assert _raw(connection).recv(1) == b"", "it was answered"
        assert broker.inspector.find([sent.id])[0] is not None
        assert broker.results.get([sent.id, "nobody"]) == [None, None]
    assert any("gave up 127.0.0.1" in record.getMessage() for record in caplog.records)


def test_a_repeated_frame_is_refused() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs, connections() as (near, far):
        near._sock, real = ours, _raw(near)
        near.send("once")
        near._sock = real
        frame = theirs.recv(1 << 16)
        real.sendall(frame)
        assert far.recv() == "once"
        real.sendall(frame)
        with pytest.raises(AuthenticationError, match="repeated"):
            far.recv()


def test_a_frame_of_another_connection_is_refused() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs, connections() as (other, _), connections() as (near, far):
        other._sock, real = ours, _raw(other)
        other.send("of another")
        other._sock = real
        _raw(near).sendall(theirs.recv(1 << 16))
        with pytest.raises(AuthenticationError):
            far.recv()


def test_a_reflected_frame_is_refused() -> None:
    with connections() as (near, far):
        near.send("to the server")
        _raw(far).sendall(exactly(_raw(far), 36 + len(dumps("to the server"))))
        with pytest.raises(AuthenticationError):
            near.recv()


def test_a_frame_over_the_limit_is_refused_on_both_sides() -> None:
    with connections() as (near, far):
        with pytest.raises(TooLarge, match="fewer jobs"):
            near.send_bytes(bytes(FRAME_LIMIT + 1))
        near.send("still good")
        assert far.recv() == "still good"
        _raw(near).sendall(struct.pack(">I", FRAME_LIMIT + 1) + bytes(32))
        with pytest.raises(AuthenticationError, match="over the limit"):
            far.recv()


def test_a_peer_that_stops_in_a_frame_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "STALLED", 0.2)
    with connections() as (near, far):
        _raw(near).sendall(b"\0\0")
        with pytest.raises(TimeoutError):
            far.recv()


def test_errors_travel_by_name_and_nothing_else_is_made() -> None:
    full = loads(dumps(BrokerFull("no room")))
    assert (type(full), str(full)) == (BrokerFull, "no room")
    other = loads(dumps(ZeroDivisionError("by zero")))
    assert (type(other), str(other)) == (BrokerError, "ZeroDivisionError: by zero")
    with pytest.raises(TypeError, match="not plain data"):
        dumps(object())


FAILURE = Failure("builtins.ValueError", "boom", "trace", 2, 3.0, "w")


@pytest.mark.parametrize(
    "outcome",
    [
        Done(b"v"),
        Retry(1.5, FAILURE),
        Dead(FAILURE, False),
        Dead(FAILURE),
        Cancelled(FAILURE),
        Release(2.0),
        Park(9.0, FAILURE),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_each_outcome_arrives_as_it_was(outcome: Outcome) -> None:
    said = wire.settled(Settlement(Lease(job(), 1, 7), outcome))
    _, (arrived,), _ = wire.SETTLE.asked.decode(wire.encode(("c", [said], [])))
    assert (arrived.number, wire.outcome(arrived)) == (7, outcome)


def test_a_batch_of_100_kib_is_answered_promptly() -> None:
    with served() as server, client(server) as broker:
        broker.put([job()])
        took = []
        for _ in range(20):
            batch = [job(bytes(1024)) for _ in range(100)]
            began = time.perf_counter()
            broker.put(batch)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.02  # with Nagle's algorithm each takes 44 ms
        assert _raw(broker.calls._idle[0]).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_key_is_not_sent() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        near = Connection(ours, KEY, serves=False)
        theirs.sendall(frames.MAGIC + bytes(32) + b"-" + bytes(32))
        with pytest.raises(AuthenticationError, match="another one"):
            near.greet()
        assert KEY not in theirs.recv(1 << 16)
