"""The KV on a stream of a real server: through outages, over snapshots and by many at once."""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from pika.exceptions import ChannelClosedByBroker

from longboat import Longboat
from longboat.brokers.rabbitmq import replica, stream, topology
from longboat.brokers.rabbitmq.link import Link
from longboat.connect import connect
from longboat.contract.broker import Broker
from longboat.contract.kv import KV, Entry
from longboat.errors import BrokerFull, BrokerUnavailable, StoreTooNew
from tests.rigs.servers.process import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


def count(kv: KV, times: int) -> None:
    """As who may not know whether his own write was stored: a unique value tells."""
    done = 0
    while done < times:
        try:
            was = kv.read("count", ["n"])[0]
            done += kv.compare_and_set("count", Entry("n", b"%d" % (int(was or b"0") + 1)), old=was)
        except BrokerUnavailable:
            continue


@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_entries_outlive_an_outage(rabbitmq_server: RabbitmqServer, url: str, broker: Broker, kind: str) -> None:
    broker.kv.write("s", [Entry("a", b"1"), Entry("b", b"1")])
    with closing(connect(url)) as other:
        assert other.kv.read("s", ["a"]) == [b"1"]
        if kind == "closed":
            rabbitmq_server.ctl("close_all_connections", "a test")
        else:
            time.sleep(2.0)  # a server killed within a second of its first stream does not bring that back: see below
            rabbitmq_server.kill()
            rabbitmq_server.start()

        def written() -> bool:
            try:
                broker.kv.write("s", [Entry("a", b"2")])
            except BrokerUnavailable:
                return False
            return True

        until(written, "an entry is written", 30.0)
        until(lambda: other.kv.read("s", ["a", "b"]) == [b"2", b"1"], "the other one reads it", 30.0)
    with closing(connect(url)) as late:
        assert late.kv.read("s", ["a", "b"]) == [b"2", b"1"]


def test_a_first_stream_that_a_killed_server_has_lost_stops_no_job_and_the_way_out_is_told(tmp_path: Path) -> None:
    made = RabbitmqServer(tmp_path / "server")
    with made as server, Longboat(server.url) as app:
        kv = app.broker.kv

        @app.task(name="double")
        def double(number: int) -> int:
            return 2 * number

        kv.write("s", [Entry("a", b"1")])
        server.kill()
        server.start()
        with app.worker():
            assert double.enqueue(21).result(30) == 42

            ways: list[str] = []

            def told() -> bool:
                with pytest.raises(BrokerUnavailable) as error:
                    kv.write("s", [Entry("b", b"1")])
                ways.extend(re.findall("rabbitmqctl eval '(.*)'", str(error.value)))
                return bool(ways)

            until(told, "the way out is told", 30.0)
            server.ctl("eval", ways[0])
            kv.write("s", [Entry("b", b"1")])
            assert kv.read("s", ["a", "b"]) == [None, b"1"]
            assert double.enqueue(4).result(30) == 8
        server.kill()


def test_a_stream_that_has_no_replica_yet_is_looked_for_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its declaration by one process and its first replica the server refuses all others: for milliseconds."""
    tries: list[int | str] = []
    listen = stream.StreamKV._listen

    def refused(self: stream.StreamKV, link: Link, offset: int | str) -> None:
        tries.append(offset)
        if len(tries) < 3:
            link.end(ChannelClosedByBroker(406, "PRECONDITION_FAILED - it does not have a replica on the local node"))
            link.check()
        listen(self, link, offset)

    monkeypatch.setattr(stream.StreamKV, "_listen", refused)
    with closing(connect(url)) as broker:
        broker.kv.write("s", [Entry("a", b"1")])
        assert broker.kv.read("s", ["a"]) == [b"1"]
    assert len(tries) == 3


def test_each_count_of_many_counts_once(url: str, broker: Broker) -> None:
    clients = [connect(url) for _ in range(4)]
    threads = [threading.Thread(target=count, args=(client.kv, 25)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    until(lambda: broker.kv.read("count", ["n"]) == [b"100"], "all counted", 5.0)


def test_the_log_loses_its_beginning_and_no_entry(url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for who was away meanwhile."""
    monkeypatch.setattr(topology, "LOG", 600_000)
    monkeypatch.setattr(topology, "SEGMENT", 100_000)
    monkeypatch.setattr(replica, "SNAPSHOT_AFTER", 50_000)
    monkeypatch.setattr(replica, "AGAIN", 0.0)
    monkeypatch.setattr(random, "random", lambda: 0.0)
    broker.kv.write("s", [Entry("first", b"1"), Entry("gone", b"1")])
    with closing(connect(url)) as away:
        assert away.kv.read("s", ["first"]) == [b"1"]
        away.kv.close()  # type: ignore[attr-defined]  # StreamKV has it
        broker.kv.write("s", [Entry("gone", None)])
        for number in range(400):
            broker.kv.write("s", [Entry("large", bytes(5000)), Entry("number", b"%d" % number)])
        with closing(connect(url)) as late:
            for each in (late, away):
                assert each.kv.read("s", ["first", "gone", "number"]) == [b"1", None, b"399"]
                assert each.kv._replica._first != 0  # type: ignore[attr-defined]  # it has not read all there ever was


def test_a_stream_that_was_deleted_is_begun_anew(rabbitmq_server: RabbitmqServer, broker: Broker, tmp_path: Path) -> None:
    for _ in range(10):
        broker.kv.write("s", [Entry("a", b"1")])
    rabbitmq_server.ctl("delete_queue", f"{tmp_path.name}.kv")

    def written() -> bool:
        try:
            broker.kv.write("s", [Entry("b", b"1")])
        except BrokerUnavailable:
            return False
        return True

    until(written, "an entry is written", 30.0)
    assert broker.kv.read("s", ["a", "b"]) == [None, b"1"]


def test_what_is_too_much_for_every_process_is_refused(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROOM", 2000)
    broker.kv.write("s", [Entry("a", bytes(1500))])
    with pytest.raises(BrokerFull, match="results="):
        broker.kv.write("s", [Entry("b", bytes(1500))])
    broker.kv.write("s", [Entry("a", None)])
    broker.kv.write("s", [Entry("b", bytes(1500))])


def test_a_log_that_a_newer_longboat_wrote_into_is_refused(
    url: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy without the lines that it cannot read would be another than those of the others."""
    broker.kv.write("s", [Entry("a", b"1")])
    monkeypatch.setattr(stream, "LAYOUT", stream.LAYOUT + 1)
    with closing(connect(url)) as newer:
        newer.kv.write("s", [Entry("a", b"2")])
        assert newer.kv.read("s", ["a"]) == [b"2"]
        monkeypatch.undo()

        def refused() -> bool:
            try:
                broker.kv.read("s", ["a"])
            except StoreTooNew as error:
                return "Upgrade Longboat here" in str(error)
            return False

        until(refused, "it is refused", 5.0)
        with pytest.raises(StoreTooNew):
            broker.kv.write("s", [Entry("a", b"1")])
