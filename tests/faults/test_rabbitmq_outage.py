"""A RabbitMQ node that closes connections, stops, is killed, raises its alarm or loses a queue; and wrong addresses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.connect import connect
from longboat.contract.broker import Broker, Consumer, Lease, Settlement
from longboat.core.codec import NONE
from longboat.core.job import MESSAGE_VERSION, Done, Job, new_id
from longboat.errors import BrokerError, BrokerMisconfigured, BrokerUnavailable, ConfigError
from longboat.testing.conformance.stage import job
from tests.rigs.servers.process import free_ports, until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available
from tests.rigs.servers.redis.certificates import make_certificates

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

IN_TIME = 3.0
JOBS = 3000

APP = """
import os, time
from longboat import Longboat
app = Longboat(os.environ["LONGBOAT_URL"])
@app.task(name="mark")
def mark(n: int) -> None:
    time.sleep(0.002)
    with open("out", "a") as file:
        file.write(f"{n}\\n")
"""


def put_at_last(broker: Broker, patience: float = 30.0) -> str:
    sent = job()

    def stored() -> bool:
        try:
            return bool(broker.put([sent]))
        except BrokerUnavailable:
            return False

    until(stored, "a put is stored", patience)
    return sent.id


def lost(consumer: Consumer) -> None:
    def told() -> bool:
        with contextlib.suppress(BrokerUnavailable):
            assert consumer.receive(1, wait=0.1) == []
        return not consumer.extend().alive

    until(told, "the consumer is told", 10.0)
    assert consumer.receive(1, wait=0.0) == []


def received(consumer: Consumer, n: int = 1) -> list[Lease]:
    leases: list[Lease] = []

    def enough() -> bool:
        leases.extend(consumer.receive(n - len(leases), wait=1.0))
        return len(leases) >= n

    until(enough, f"{n} received", 60.0)
    return leases


def outage(rabbitmq_server: RabbitmqServer, kind: str) -> None:
    if kind == "closed":
        rabbitmq_server.ctl("close_all_connections", "a test")
    elif kind == "stopped":
        rabbitmq_server.ctl("stop_app")
        rabbitmq_server.ctl("start_app")
    else:
        rabbitmq_server.kill()
        rabbitmq_server.start()


@pytest.mark.parametrize("kind", ["closed", "stopped", "killed"])
def test_what_is_held_comes_back(rabbitmq_server: RabbitmqServer, broker: Broker, kind: str) -> None:
    held = job()
    broker.put([held])
    consumer = broker.consumer(["q"], lease=10.0)
    lease = received(consumer)[0]
    outage(rabbitmq_server, kind)
    lost(consumer)
    assert consumer.settle([Settlement(lease, Done(b""))]) == [lease]
    consumer.close()
    after = put_at_last(broker)
    with closing(broker.consumer(["q"], lease=10.0)) as another:
        leases = received(another, 2)
        assert [each.job.id for each in leases] == [held.id, after]
        assert leases[0].worker_deaths > 0


def test_what_was_put_into_new_queues_outlives_a_kill(rabbitmq_server: RabbitmqServer, broker: Broker) -> None:
    consumer = broker.consumer(["q"], lease=3.0)
    ready, held, delayed = job(), job(), job(delay=0.5)
    broker.put([held])
    lease = received(consumer)[0]
    lease.worker_deaths = 1
    consumer.settle([], started=[lease])
    broker.put([ready, delayed])
    rabbitmq_server.kill()
    rabbitmq_server.start()
    lost(consumer)
    consumer.close()
    with closing(broker.consumer(["q"], lease=60.0)) as another:
        back = received(another, 3)
    assert {each.job.id: each.attempt for each in back} == {ready.id: 1, held.id: 2, delayed.id: 1}


@pytest.mark.parametrize("kind", ["closed", "killed"])
def test_a_worker_drains_across_an_outage(rabbitmq_server: RabbitmqServer, url: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    app = Longboat(url)

    @app.task(name="mark")
    def mark(n: int) -> None: ...

    mark.enqueue_many([(n,) for n in range(JOBS)])
    out = tmp_path / "out"

    def done() -> set[str]:
        return set(out.read_text().split()) if out.exists() else set()

    command = [sys.executable, "-m", "longboat", "worker", "app:app", "--queues", "default"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"LONGBOAT_URL": url}, stdout=log, stderr=log)
    try:
        until(lambda: len(done()) > 50, "the worker works", 20.0)
        assert len(done()) < JOBS
        outage(rabbitmq_server, kind)
        until(lambda: len(done()) == JOBS, "every job has run", 60.0)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(20.0)
        app.close()


def test_an_alarm_refuses_puts_in_time_and_passes(rabbitmq_server: RabbitmqServer, broker: Broker) -> None:
    broker.put([job()])
    rabbitmq_server.ctl("set_vm_memory_high_watermark", "0")
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                broker.put([job()])
            assert time.monotonic() - began < IN_TIME
    finally:
        rabbitmq_server.ctl("set_vm_memory_high_watermark", "0.4")
    put_at_last(broker)


def test_a_frozen_server_refuses_in_time(rabbitmq_server: RabbitmqServer, broker: Broker) -> None:
    broker.put([job()])
    rabbitmq_server.freeze()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                broker.put([job()])
            assert time.monotonic() - began < IN_TIME
    finally:
        rabbitmq_server.thaw()
    put_at_last(broker)


def test_a_deleted_queue_is_made_again(rabbitmq_server: RabbitmqServer, broker: Broker, tmp_path: Path) -> None:
    broker.put([job()])
    consumer = broker.consumer(["q"], lease=10.0)
    received(consumer)
    rabbitmq_server.ctl("delete_queue", f"{tmp_path.name}.q.0")
    lost(consumer)
    consumer.close()
    sent = job()
    broker.put([sent])
    with closing(broker.consumer(["q"], lease=10.0)) as another:
        assert received(another)[0].job.id == sent.id


@pytest.mark.parametrize(("old", "new"), [("guest:guest@", "guest:wrong@"), ("/?", "/nowhere?")])
def test_a_wrong_password_or_vhost_is_told(url: str, old: str, new: str) -> None:
    told = pytest.raises(BrokerMisconfigured, match="refused the user")
    with closing(connect(url.replace(old, new))) as broker, told as caught:
        broker.put([job()])
    assert "wrong" not in str(caught.value)


def test_what_keeps_a_connection_from_being_made_is_told() -> None:
    (port,) = free_ports(1)
    for host, said in ((f"127.0.0.1:{port}", "Connection refused"), ("no-such-host.invalid", "not known|resolution")):
        with closing(connect(f"amqp://me:hidden@{host}/")) as broker, pytest.raises(BrokerUnavailable, match=said) as told:
            broker.put([job()])
        assert "hidden" not in str(told.value)


def test_the_next_of_several_hosts_is_used(url: str) -> None:
    (port,) = free_ports(1)
    several = url.replace("@", f"@127.0.0.1:{port},")
    with closing(connect(several)) as broker:
        for _ in range(2):
            broker.put([job()])
    with closing(connect(url)) as broker, closing(broker.consumer(["q"], lease=10.0)) as consumer:
        assert len(received(consumer, 2)) == 2
    with (
        closing(connect(several.replace("guest:guest", "guest:wrong"))) as broker,
        pytest.raises(BrokerMisconfigured, match="refused"),
    ):
        broker.put([job()])


def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make certificates with")
    make_certificates(tmp_path)
    (port,) = free_ports(1)
    names = {"cacertfile": "ca.crt", "certfile": "server.crt", "keyfile": "server.key"}
    files = [f"ssl_options.{name} = {tmp_path / file}" for name, file in names.items()]
    (folder := tmp_path / "node").mkdir()
    with RabbitmqServer(folder, options=[f"listeners.ssl.1 = 127.0.0.1:{port}", *files]):
        address = f"amqps://guest:guest@127.0.0.1:{port}/"
        with closing(connect(f"{address}?ssl_ca={tmp_path}/ca.crt")) as broker:
            everything_arrives(broker)
        with closing(connect(address)) as broker, pytest.raises(BrokerUnavailable, match=r"(?i)certificate verify failed"):
            broker.put([job()])
    wrong = [f"amqp://host/?ssl_ca={tmp_path}/ca.crt", f"amqps://host/?ssl_ca={tmp_path}/none"]
    for url in (*wrong, f"amqps://host/?ssl_cert={tmp_path}/server.crt&ssl_key={tmp_path}/ca.crt"):
        with pytest.raises(ConfigError, match="TLS"):
            connect(url)


def everything_arrives(broker: Broker) -> None:
    """Of threads that put at once more than a socket takes at once; frames of two messages never mix."""
    payloads = {new_id(): os.urandom(300_000) for _ in range(40)}

    def put(ids: Sequence[str]) -> None:
        for job_id in ids:
            broker.put([Job(MESSAGE_VERSION, each, "t", payloads.get(each, b""), keep=0) for each in (job_id, new_id())])

    ids = list(payloads)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put, [ids[start::4] for start in range(4)]))
    consumer = broker.consumer(["default"], lease=30)
    try:
        arrived: dict[str, bytes] = {}
        while leases := consumer.receive(100, wait=1):
            consumer.settle([Settlement(lease, Done(NONE)) for lease in leases])
            arrived |= {lease.job.id: lease.job.payload for lease in leases}
    finally:
        consumer.close()
    assert len(arrived) == 2 * len(payloads)
    assert {each: arrived[each] for each in payloads} == payloads


def test_messages_of_many_threads_arrive_whole(broker: Broker) -> None:
    everything_arrives(broker)


def test_a_queue_with_other_arguments_is_told(url: str, broker: Broker) -> None:
    broker.put([job()])
    with closing(connect(f"{url}&queues=classic")) as other:
        for _ in range(2):
            with pytest.raises(BrokerError, match=r"x-queue-type") as told:
                other.put([job()])
            assert not isinstance(told.value, BrokerUnavailable)
