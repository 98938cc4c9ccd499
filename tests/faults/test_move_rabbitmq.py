"""`longboat move` into RabbitMQ beside a store, out of it and in again, killed at every step while workers run the jobs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from longboat.brokers.companion import CompanionBroker
from longboat.brokers.rabbitmq import RabbitmqCarrier
from longboat.brokers.rabbitmq.looking import Looking
from longboat.connect import connect
from longboat.contract.broker import Broker, Settlement
from longboat.contract.carrier import Place
from longboat.core.constraints import Constraints, JobLimit
from longboat.core.job import MESSAGE_VERSION, Dead, Failure, Job, Outcome, Retry, State, new_ids
from longboat.errors import Unsupported
from longboat.operate.move import in_transfer, movable, move
from tests.rigs.fault import until
from tests.rigs.servers.rabbitmq import RabbitmqServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]

JOBS, TRIED, DEAD = 150, 20, 20
"""At first in each of the two brokers: jobs to be run, of which some have failed once, and dead ones."""

BATCH = 30

INTO = [
    "companion.imports.Import._enter after",
    "rabbitmq.session.Session.send after",
    "companion.imports.Import._bury after",
]
OUT_OF = [
    "companion.transfer.CompanionTransfer._followed before",
    "companion.transfer.CompanionTransfer._take_leave before",
    "rabbitmq.looking.Looking.acknowledge after",
]
BACK_INTO = ["companion.imports.Import._entries after", "companion.imports.Import._brought_back after"]

MOVER = f"""
import functools, importlib, os, signal, sys
import longboat.operate.move
from longboat.cli.main import main
longboat.operate.move.BATCH = {BATCH}
sys.argv = ["longboat", "move", *sys.argv[1:3], "--yes", *sys.argv[3:]]
step, when, left = (sys.argv.pop().split(" ") + [""] * 2)[:3] if " " in sys.argv[-1] else ("", "", "")
if step:
    module, kind, name = step.rsplit(".", 2)
    its = getattr(importlib.import_module(f"longboat.brokers.{{module}}"), kind)
    real, calls = getattr(its, name), iter(range(int(left), -1, -1))
    @functools.wraps(real)
    def dies(*args, **named):
        last = next(calls) == 0
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = real(*args, **named)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
    setattr(its, name, dies)
main()
"""

WORKER = """
import os, sys, time
from longboat.contract.broker import Settlement
from longboat.connect import connect
from longboat.core.job import Done
url, path, pause, *queues = sys.argv[1:]
consumer = connect(url).consumer(queues, lease=30)
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while True:
    for lease in consumer.receive(5, wait=1):
        os.write(log, f"{lease.job.id} {lease.attempt} {lease.failures}\\n".encode())
        time.sleep(float(pause))
        assert consumer.settle([Settlement(lease, Done(b"\\xc0"))]) == []
    consumer.extend()
"""


UNPACKER = """
import os, signal, sys
from longboat.core.codec import encode_job
from longboat.connect import connect
from longboat.core.job import Job
from longboat.contract.transfer import ExportedJob
def published(messages):
    real(messages)
    os.kill(os.getpid(), signal.SIGKILL)
broker = connect(sys.argv[1])
real, broker.carrier.send = broker.carrier.send, published
jobs = [ExportedJob(name, encode_job(Job(1, name, "work", b"", "q")), "q", attempts=n) for n, name in enumerate("ab")]
broker.transfer.import_jobs("one", jobs)
"""


@contextmanager
def script(text: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", text, *arguments], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def settled(broker: Broker, jobs: list[Job], outcome: Outcome) -> None:
    broker.put(jobs)
    left = len(jobs)
    with closing(broker.consumer([jobs[0].queue], lease=60)) as consumer:
        while left:
            leases = consumer.receive(left, wait=5)
            assert consumer.settle([Settlement(lease, outcome) for lease in leases]) == []
            left -= len(leases)


def first_jobs(broker: Broker, name: str) -> tuple[list[Job], list[Job]]:
    """Ready, scheduled and tried ones, some with ids of their own, half in a queue whose workers come late; dead ones."""
    jobs = [Job(MESSAGE_VERSION, each, "work", b"\x80", "late", keep=0.0) for each in new_ids(JOBS)]
    for n, job in enumerate(jobs):
        job.id = f"{name}-{n}" if n % 3 == 0 else job.id
        job.queue = "now" if n % 2 else "late"
        job.delay = random.uniform(1.0, 8.0) if n >= TRIED and n % 5 == 0 else 0.0
    dead = [Job(MESSAGE_VERSION, each, "work", b"\x80", "graves") for each in new_ids(DEAD)]
    settled(broker, dead, Dead(Failure("tests.Boom", "boom")))
    for queue in ("now", "late"):
        settled(broker, [job for job in jobs[:TRIED] if job.queue == queue], Retry(0.0, Failure("tests.Boom", "boom")))
    broker.put(jobs[TRIED:])
    return jobs, dead


def moved(source: Broker, urls: tuple[str, str], steps: list[str], dice: random.Random) -> None:
    """Killed at each of these steps, and at a moment of its own."""
    for step in steps:
        with script(MOVER, *urls, f"{step} {dice.choice([0, 0, 1])}") as process:
            assert process.wait(30) == -signal.SIGKILL, step
    with script(MOVER, *urls) as process:
        until(lambda: in_transfer(source) or process.poll() is not None, 10, every=0.02)
        time.sleep(dice.uniform(0.0, 0.1))
    while movable(source) or in_transfer(source):
        with script(MOVER, *urls) as process:
            assert process.wait(60) == 0


def test_moves_killed_at_every_step_lose_and_double_nothing(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    rabbit = f"{rabbitmq_server.url}?timeout=10s&results=sqlite:///{tmp_path}/store.db?synchronous=normal&timeout=10s"
    file = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal&timeout=10s"
    logs = {rabbit: tmp_path / "rabbit.log", file: tmp_path / "file.log"}
    with ExitStack() as stack:
        here, there = (stack.enter_context(closing(connect(url))) for url in (rabbit, file))
        put = [first_jobs(each, name) for each, name in ((here, "here"), (there, "there"))]
        jobs, dead = [job for each, _ in put for job in each], [job.id for _, each in put for job in each]
        for url in (file, rabbit, rabbit):
            stack.enter_context(script(WORKER, url, str(logs[url]), "0.1", "now"))
        moved(there, (file, rabbit), INTO, dice)
        assert not [view for view in there.inspector.find(dead) if view]
        moved(here, (rabbit, file), OUT_OF, dice)
        assert not [view for view in here.inspector.find(dead) if view]
        moved(there, (file, rabbit), BACK_INTO, dice)
        for url, log in logs.items():
            stack.enter_context(script(WORKER, url, str(log), "0", "now", "late"))
        wanted = {job.id for job in jobs}
        until(lambda: wanted <= ran(logs[rabbit]).keys() | ran(logs[file]).keys(), 30, lambda: said(here, there))

        total = ran(logs[rabbit]) + ran(logs[file])
        assert {name: n for name, n in total.items() if n > 1} == {}, f"ran more than once (seed {seed})"
        assert total.keys() == wanted
        history = {line.split()[0]: line.split(" ", 1)[1] for log in logs.values() for line in lines(log)}
        tried = {job.id for first, _ in put for job in first[:TRIED]}
        assert {history[name] for name in tried} == {"2 1"}, "the second attempt, after one failure"
        assert {history[name] for name in wanted - tried} == {"1 0"}
        views = here.inspector.find(dead)
        assert [view and (view.state, view.attempts, len(view.failures)) for view in views] == [(State.DEAD, 1, 1)] * len(
            dead
        )
        assert isinstance(here, CompanionBroker)
        assert isinstance(here.carrier, RabbitmqCarrier)
        in_server = here.carrier.depths
        left = {("graves", State.DEAD): len(dead)}
        until(lambda: dict(in_server()) == left, 10, lambda: str(in_server()))
        print(f"ran in RabbitMQ and in the file: {[ran(log).total() for log in logs.values()]}")


def test_what_was_published_twice_is_received_once(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    """Though the second message comes while another holds the first."""
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}&timeout=10s&results=sqlite:///{tmp_path}/store.db"
    for _ in range(2):
        with script(UNPACKER, url) as process:
            assert process.wait(30) == -signal.SIGKILL
    with ExitStack() as stack:
        broker = stack.enter_context(closing(connect(url)))
        consumers = [stack.enter_context(closing(broker.consumer(["q"], lease=60))) for _ in range(2)]
        leases = [lease for wait in (5, 0.5, 0.5) for consumer in consumers for lease in consumer.receive(1, wait=wait)]
        assert sorted((lease.job.id, lease.attempt, lease.worker_deaths) for lease in leases) == [("a", 1, 0), ("b", 2, 0)]


def test_what_a_killed_worker_held_moves_once_its_connection_is_gone(
    rabbitmq_server: RabbitmqServer, tmp_path: Path
) -> None:
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}&timeout=10s&results=sqlite:///{tmp_path}/store.db"
    log = tmp_path / "log"
    with closing(connect(url)) as broker:
        broker.put([Job(MESSAGE_VERSION, "mine", "work", b"\x80", "q")])
        with script(WORKER.replace("lease=30", "lease=1"), url, str(log), "60", "q"):
            until(lambda: lines(log) == ["mine 1 0"], 10)
            assert broker.transfer.export_jobs("one", ["mine"]) == []
        until(lambda: broker.transfer.export_jobs("one", ["mine"]) != [], 10)
        (exported,) = broker.transfer.export_jobs("one", [])
        assert (exported.id, exported.attempts, exported.worker_deaths, exported.failures) == ("mine", 0, 1, [])
        with closing(broker.consumer(["q"], lease=60)) as consumer:
            assert consumer.receive(1, wait=0.5) == [], "its message was received"
            assert broker.transfer.import_jobs("two", [exported]) == ["mine"]
            assert [lease.worker_deaths for lease in consumer.receive(2, wait=5)] == [1]


def test_what_a_killed_move_had_packed_by_half_goes_on_where_it_is(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}&timeout=10s&results=sqlite:///{tmp_path}/store.db"
    jobs = [Job(MESSAGE_VERSION, name, "work", b"\x80", "q") for name in ("a", "b", "c")]
    with closing(connect(url)) as broker:
        broker.put(jobs)
        with script(
            MOVER, url, f"sqlite:///{tmp_path}/jobs.db", "companion.transfer.CompanionTransfer._followed before 0"
        ) as process:
            assert process.wait(30) == -signal.SIGKILL
        assert broker.inspector.find(["a", "b", "c"]) == [None] * 3, "they are about to leave"
        with closing(broker.consumer(["q"], lease=60)) as consumer:
            leases = [lease for _ in range(3) for lease in consumer.receive(1, wait=5)]
            assert [lease.job.id for lease in leases] == ["a", "b", "c"]
        assert broker.transfer.unconfirmed() == []


def test_a_move_that_was_overtaken_harms_no_job_that_came_back(
    rabbitmq_server: RabbitmqServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops among its messages; another finishes its batch, and the jobs come back before it goes on."""
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}&timeout=10s&results=sqlite:///{tmp_path}/store.db"
    jobs = [Job(MESSAGE_VERSION, name, "work", b"\x80", "q") for name in ("a", "b")]
    began, overtaken, real = threading.Event(), threading.Event(), Looking.read

    def stopped(looking: Looking, place: Place, name: str, left: set[str] | None, limit: int) -> None:
        real(looking, place, name, left, limit)
        if threading.current_thread() is slow:
            began.set()
            assert overtaken.wait(20)

    monkeypatch.setattr(Looking, "read", stopped)
    with closing(connect(url)) as broker, closing(connect(f"sqlite:///{tmp_path}/jobs.db")) as other:
        broker.put(jobs)
        slow = threading.Thread(target=lambda: broker.transfer.export_jobs("one", ["a", "b"]))
        slow.start()
        assert began.wait(20)
        assert other.transfer.import_jobs("one", broker.transfer.export_jobs("one", [])) == ["a", "b"]
        broker.transfer.confirm("one")
        assert broker.transfer.import_jobs("two", other.transfer.export_jobs("two", ["a", "b"])) == ["a", "b"]
        overtaken.set()
        slow.join(20)
        with closing(broker.consumer(["q"], lease=60)) as consumer:
            assert [lease.job.id for _ in range(3) for lease in consumer.receive(1, wait=2)] == ["a", "b"]


def test_jobs_with_limits_stay_where_they_are(rabbitmq_server: RabbitmqServer, tmp_path: Path) -> None:
    url = f"{rabbitmq_server.url}?prefix={tmp_path.name}&timeout=10s&results=sqlite:///{tmp_path}/store.db"
    with closing(connect(f"sqlite:///{tmp_path}/jobs.db")) as source, closing(connect(url)) as destination:
        jobs = [Job(MESSAGE_VERSION, name, "work", b"\x80", "q") for name in new_ids(3)]
        jobs[1].constraints, jobs[2].constraints = (
            Constraints(limits=[JobLimit("g", running=1)]),
            Constraints(fairness_key="t"),
        )
        source.put(jobs)
        assert move(source, destination, "there").moved == 1
        assert movable(source) == {State.READY: 2}
        assert movable(destination) == {State.READY: 1}
        exported_jobs = source.transfer.export_jobs("by hand", [job.id for job in jobs[1:]])
        assert destination.transfer.import_jobs("by hand", exported_jobs) == [job.id for job in jobs[1:]], (
            "none is lost even so"
        )
        assert movable(destination) == {State.READY: 1, State.DEAD: 2}


def test_without_a_store_it_says_what_is_wanting(rabbitmq_server: RabbitmqServer) -> None:
    with closing(connect(rabbitmq_server.url)) as broker, pytest.raises(Unsupported, match=r"\?results="):
        broker.transfer.unconfirmed()


def ran(log: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in lines(log))


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def said(*brokers: Broker) -> str:
    return str([dict(broker.inspector.counts()) for broker in brokers])
