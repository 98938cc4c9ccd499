"""What the doctor says of real Redis servers, each with a fault of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longboat.brokers.redis import RedisBroker
from longboat.brokers.redis.doctor import look, memory, version
from longboat.contract.optional import Finding, Report
from longboat.core.clock import SYSTEM, Clock
from longboat.testing.clock import FakeClock
from tests.rigs.servers.process import HOST, free_ports
from tests.rigs.servers.redis import RedisServer, available

MISSING = available()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]

Start = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, one after the other, that keep what they are told unless asked otherwise."""
    started: list[RedisServer] = []

    def start(*options: str, appendonly: bool = True, password: str = "") -> RedisServer:
        server = RedisServer(tmp_path / str(len(started)), appendonly=appendonly, options=options, password=password)
        started.append(server)
        return server.start()

    yield start
    for server in reversed(started):
        server.stop()


def looked(url: str, clock: Clock = SYSTEM) -> Report:
    broker = RedisBroker(url, timeout=1.0)
    try:
        return look(broker._server, clock)
    finally:
        broker.close()


def only(report: Report) -> Finding:
    (finding,) = report.findings
    assert finding.advice.endswith(".")
    return finding


def test_a_good_server_gets_facts_and_no_findings(start: Start) -> None:
    server = start("maxmemory 100mb", "maxmemory-policy noeviction")
    report = looked(server.url)
    assert report.findings == []
    assert not report.serious
    assert report.facts["server"] == f"redis {server.info('server')['redis_version']}, standalone"
    assert report.facts["role"] == "master, replicas: 0"
    assert report.facts["persistence"] == "appendonly yes, appendfsync always, save never"
    assert "maxmemory 104.9 MB, noeviction" in report.facts["memory"]
    assert abs(float(report.facts["server clock"].split()[0])) < 1


def test_looking_changes_nothing(start: Start) -> None:
    server = start()
    looked(server.url)
    assert server.command("DBSIZE") == 0


@pytest.mark.parametrize(("policy", "lost"), [("allkeys-lru", "jobs may be dropped"), ("volatile-ttl", "tokens")])
def test_a_server_that_evicts(start: Start, policy: str, lost: str) -> None:
    server = start("maxmemory 100mb", f"maxmemory-policy {policy}")
    finding = only(looked(server.url))
    assert policy in finding.what
    assert lost in finding.what
    assert "noeviction" in finding.advice
    assert not finding.serious


def test_a_policy_without_a_limit_evicts_nothing(start: Start) -> None:
    report = looked(start("maxmemory-policy allkeys-lru").url)
    assert report.findings == []
    assert "maxmemory unlimited" in report.facts["memory"]


def test_a_full_server(start: Start) -> None:
    server = start()
    server.command("CONFIG", "SET", "maxmemory", "100kb")
    finding = only(looked(server.url))
    assert "its memory is full" in finding.what
    assert not finding.serious


def test_a_server_that_keeps_nothing(start: Start) -> None:
    finding = only(looked(start(appendonly=False).url))
    assert "all jobs are gone" in finding.what
    assert "appendonly yes" in finding.advice
    assert not finding.serious


def test_snapshots_are_persistence_too(start: Start) -> None:
    report = looked(start("save 3600 1", appendonly=False).url)
    assert report.findings == []
    assert report.facts["persistence"] == "appendonly no, save 3600 1"


@pytest.mark.parametrize("options", [['rename-command CONFIG ""'], ["user default on nopass ~* &* +@all -config"]])
def test_what_a_managed_server_does_not_tell_is_said(start: Start, options: list[str]) -> None:
    report = looked(start("maxmemory 100mb", "maxmemory-policy allkeys-lru", *options, appendonly=False).url)
    assert report.facts["persistence"] == "appendonly no; the rest is not known, since CONFIG GET is forbidden there"
    assert "allkeys-lru" in only(report).what


def test_a_server_that_tells_nothing_at_all(start: Start) -> None:
    server = start()
    server.command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all", "-config", "-info", "-time")
    report = looked(f"redis://limited:any@{HOST}:{server.port}/0")
    assert report.findings == []
    assert "INFO is forbidden" in report.facts["server"]


@pytest.mark.parametrize("lacks", ["-@blocking", "-eval -evalsha"])
def test_a_user_who_lacks_a_right_that_workers_need(start: Start, lacks: str) -> None:
    server = start()
    server.command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "&*", "+@all", *lacks.split())
    finding = only(looked(f"redis://limited:any@{HOST}:{server.port}/0"))
    assert finding.serious
    assert ("BLPOP" if "blocking" in lacks else "EVAL") in finding.what
    assert "docs/security.md" in finding.advice


def test_a_replica_is_serious(start: Start) -> None:
    master = start()
    replica = start(f"replicaof {HOST} {master.port}")
    report = looked(replica.url)
    finding = only(report)
    assert finding.serious
    assert f"replica of {HOST}:{master.port}" in finding.what
    assert "Sentinel" in finding.advice


@pytest.mark.parametrize(("off", "which"), [(5.0, "behind"), (-5.0, "ahead of")])
def test_clocks_that_differ(start: Start, off: float, which: str) -> None:
    finding = only(looked(start().url, FakeClock(SYSTEM.now() + off)))
    assert which in finding.what
    assert "NTP" in finding.advice
    assert not finding.serious


def test_clocks_that_differ_a_little_are_no_finding(start: Start) -> None:
    assert looked(start().url, FakeClock(SYSTEM.now() + 0.5)).findings == []


@pytest.mark.parametrize("url", ["redis://:wrong@{place}/0", "redis://{place}/0", "redis://nobody:secret@{place}/0"])
def test_refused_credentials(start: Start, url: str) -> None:
    server = start(password="secret")
    finding = only(looked(url.format(place=f"{HOST}:{server.port}")))
    assert finding.serious
    assert "refuses these credentials" in finding.what
    assert "Check user and password" in finding.advice
    assert looked(server.url).findings == []


def test_nobody_there() -> None:
    finding = only(looked(f"redis://{HOST}:{free_ports(1)[0]}/0"))
    assert finding.serious
    assert "cannot be reached" in finding.what
    assert "Start it" in finding.advice


def test_a_frozen_server(start: Start) -> None:
    server = start()
    server.freeze()
    finding = only(looked(server.url))
    assert finding.serious
    assert "did not answer in time" in finding.what


def test_something_else_answers_there() -> None:
    with socket.create_server((HOST, 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        finding = only(looked(f"redis://{HOST}:{listening.getsockname()[1]}/0"))
        thread.join()
    assert finding.serious
    assert "does not speak as Redis does" in finding.advice


def test_without_hiredis(tmp_path: Path, start: Start) -> None:
    (tmp_path / "hiredis.py").write_text("raise ImportError('none')\n")
    code = (
        "from longboat.connect import connect\n"
        f"broker = connect({start().url!r})\nprint(broker.diagnose().findings)\nbroker.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.stderr == ""
    assert "hiredis is not installed" in done.stdout
    assert "serious=False" in done.stdout


def findings_of(**info: str) -> tuple[str, list[Finding]]:
    """Of an INFO that a server which is not here would give."""
    report = Report()
    version(report, {"gcc_version": "12.2.0", "redis_mode": "standalone", **info})
    return report.facts["server"], report.findings


@pytest.mark.parametrize(("said", "serious"), [("5.0.14", True), ("6.0.16", True), ("6.2.0", None), ("8.2.1", None)])
def test_versions_of_redis(said: str, serious: bool | None) -> None:
    fact, findings = findings_of(redis_version=said)
    assert fact == f"redis {said}, standalone"
    assert [finding.serious for finding in findings] == ([] if serious is None else [serious])


def test_valkey_is_as_good() -> None:
    fact, findings = findings_of(redis_version="7.2.4", server_name="valkey", valkey_version="8.0.1")
    assert (fact, findings) == ("valkey 8.0.1, as Redis 7.2.4, standalone", [])


def test_others_are_named() -> None:
    _, (other,) = findings_of(redis_version="7.4.0", dragonfly_version="df-v1.25.0")
    assert "dragonfly" in other.what
    assert not other.serious
    _, (sentinel,) = findings_of(redis_version="7.0.15", redis_mode="sentinel")
    assert "redis+sentinel://" in sentinel.advice
    assert sentinel.serious
    _, (stranger,) = findings_of(garnet_version="1.0")
    assert stranger.serious


def test_memory_that_is_not_told() -> None:
    report = Report()
    memory(report, {})
    assert (report.facts, report.findings) == ({}, [])
