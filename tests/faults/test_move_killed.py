"""`longboat move` killed at any moment, again and again, while producers put jobs and workers of both stores run them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from longboat.connect import connect
from longboat.contract.broker import Broker, Settlement
from longboat.core.job import MESSAGE_VERSION, Dead, Failure, Job, State, new_ids
from longboat.operate.move import in_transfer, movable
from tests.rigs.fault import until
from tests.rigs.servers.postgres import PostgresServer
from tests.rigs.servers.postgres import available as postgres_unavailable
from tests.rigs.servers.redis import RedisServer
from tests.rigs.servers.redis import available as redis_unavailable

pytestmark = pytest.mark.slow

KILLS = 20
FIRST = 5000
DEAD = 100
MORE = 1500
"""Put one by one by each of two producers meanwhile."""

PRODUCER = f"""
import random, sys, time
from longboat.connect import connect
from longboat.core.job import MESSAGE_VERSION, Job, new_id
url, name = sys.argv[1:]
broker = connect(url)
with open(sys.argv[2], "w") as log:
    for n in range({MORE}):
        job = Job(MESSAGE_VERSION, f"{{sys.argv[2]}}-{{n}}" if n % 3 else new_id(), "work", b"\\x80", "q", keep=0.0)
        job.delay = random.uniform(0.1, 3.0) if n % 5 == 0 else 0.0
        broker.put([job])
        print(job.id, file=log, flush=True)
        time.sleep(0.002)
broker.close()
"""

WORKER = """
import os, sys, time
from longboat.contract.broker import Settlement
from longboat.connect import connect
from longboat.core.job import Done
url, path, pause = sys.argv[1:]
broker = connect(url)
consumer = broker.consumer(["q"], lease=30)
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while True:
    leases = consumer.receive(5 if float(pause) else 200, wait=1)
    os.write(log, "".join(f"{lease.job.id}\\n" for lease in leases).encode())
    time.sleep(float(pause) * len(leases))
    assert consumer.settle([Settlement(lease, Done(b"\\xc0")) for lease in leases]) == []
    consumer.extend()
"""


@pytest.fixture(params=["sqlite-sqlite", "redis-postgres", "postgres-redis"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The source's and the destination's."""
    with ExitStack() as stack:

        def url(kind: str, name: str) -> str:
            if kind == "redis":
                if reason := redis_unavailable():
                    pytest.skip(reason)
                redis = stack.enter_context(RedisServer(tmp_path / "redis", options=["appendfsync no"]))
                return f"{redis.url}?timeout=10s"
            if kind == "postgres":
                if reason := postgres_unavailable():
                    pytest.skip(reason)
                postgres = PostgresServer(tmp_path / "postgres").start()
                stack.callback(postgres.kill)
                return f"{postgres.url}{'&' if '?' in postgres.url else '?'}timeout=10s"
            return f"sqlite:///{tmp_path}/{name}.db?synchronous=normal&timeout=10s"

        a, b = request.param.split("-")
        yield url(a, "a"), url(b, "b")


@contextmanager
def script(text: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", text, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def mover(source: str, destination: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "longboat", "move", source, destination, "--yes"],
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
    )


def linger(process: subprocess.Popen[bytes], source: Broker, destination: Broker, dice: random.Random) -> None:
    """Until it is to die: at any moment, among its batches, or just when a batch has come to the destination."""
    which = dice.random()
    if which < 0.2:
        time.sleep(dice.uniform(0.05, 0.3))
    elif which < 0.5:
        until(lambda: source.transfer.unconfirmed() or process.poll() is not None, 10, every=0.0)
        time.sleep(dice.uniform(0, 0.02))
    else:
        before = sum(destination.inspector.counts().values())
        until(lambda: sum(destination.inspector.counts().values()) > before or process.poll() is not None, 10, every=0.0)


def first_jobs(broker: Broker) -> tuple[list[str], list[str]]:
    """Ids of jobs that are there from the start: ready or scheduled ones, and dead ones."""
    dead = [Job(MESSAGE_VERSION, each, "work", b"\x80", "dead") for each in new_ids(DEAD)]
    broker.put(dead)
    consumer = broker.consumer(["dead"], lease=60)
    left = DEAD
    while left:
        leases = consumer.receive(left, wait=5)
        consumer.settle([Settlement(lease, Dead(Failure("tests.Boom", lease.job.id))) for lease in leases])
        left -= len(leases)
    consumer.close()
    jobs = [Job(MESSAGE_VERSION, each, "work", b"\x80", "q", keep=0.0) for each in new_ids(FIRST)]
    for n, job in enumerate(jobs):
        job.delay = random.uniform(1.0, 5.0) if n % 4 == 0 else 0.0
    broker.put(jobs)
    return [job.id for job in jobs], [job.id for job in dead]


def test_a_move_killed_again_and_again_loses_and_doubles_nothing(urls: tuple[str, str], tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    source_url, destination_url = urls
    logs = {"source": tmp_path / "source.log", "destination": tmp_path / "destination.log"}
    with ExitStack() as stack:
        source = stack.enter_context(closing(connect(source_url)))
        destination = stack.enter_context(closing(connect(destination_url)))
        first, dead = first_jobs(source)
        destination.inspector.counts()
        names = [str(tmp_path / f"p{n}") for n in range(2)]
        producers = [stack.enter_context(script(PRODUCER, source_url, name)) for name in names]
        stack.enter_context(script(WORKER, source_url, str(logs["source"]), "0.004"))
        for _ in range(2):
            stack.enter_context(script(WORKER, destination_url, str(logs["destination"]), "0"))

        cut = halfway = 0
        for _ in range(KILLS):
            process = mover(source_url, destination_url)
            linger(process, source, destination, dice)
            process.send_signal(signal.SIGKILL)
            cut += process.wait(10) == -signal.SIGKILL
            halfway += bool(in_transfer(source))
            # What it had put there has run and is forgotten when the next move comes.
            until(lambda: not destination.inspector.counts().get(("q", State.READY)), 20, every=0.02)
        assert halfway > 0, f"{cut} of {KILLS} moves were killed, {halfway} with jobs on their way (seed {seed})"

        for producer in producers:
            assert producer.wait(60) == 0
        put = {job_id for name in names for job_id in Path(name).read_text().split()} | set(first)
        assert len(put) == FIRST + 2 * MORE
        while movable(source) or in_transfer(source):
            assert mover(source_url, destination_url).wait(60) == 0

        until(lambda: not any(movable_of(each) for each in (source, destination)), 60, lambda: said(source, destination))
        ran = {side: Counter(log.read_text().split()) for side, log in logs.items()}

        total = ran["source"] + ran["destination"]
        lost, doubled = put - total.keys(), {job_id: n for job_id, n in total.items() if n > 1}
        assert not lost, f"{len(lost)} jobs never ran (seed {seed}): {sorted(lost)[:3]}"
        assert not doubled, f"{len(doubled)} jobs ran more than once (seed {seed}): {doubled}"
        assert total.keys() == put
        assert min(len(each) for each in ran.values()) > 100, "jobs ran in both stores"
        assert dict(source.inspector.counts()) == {}
        assert dict(destination.inspector.counts()) == {("dead", State.DEAD): DEAD}
        views = destination.inspector.find(dead)
        assert [view and view.failures[0].message for view in views] == dead
        shares = [len(each) for each in ran.values()]
        print(f"{cut} of {KILLS} moves killed, {halfway} with jobs on their way; ran at source and destination: {shares}")


def movable_of(broker: Broker) -> dict[tuple[str, State], int]:
    return {place: n for place, n in broker.inspector.counts().items() if not place[1].ended}


def said(*brokers: Broker) -> str:
    return str([dict(broker.inspector.counts()) for broker in brokers])
