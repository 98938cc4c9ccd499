"""The servers that tests start: what each can do, and that nothing of them is left behind."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psutil
import pytest

from tests.rigs.servers.process import HOST, PORTS, ServerDidNotStart, free_ports, is_free, until
from tests.rigs.servers.redis import (
    RedisCluster,
    RedisError,
    RedisSentinels,
    RedisServer,
    available,
    command,
    slot_of,
)

MISSING = available()
needs_redis = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    # Children alone: a server that other tests share starts and ends processes of its own whenever it likes.
    before = set(psutil.Process().children())
    yield
    left = set(psutil.Process().children()) - before
    assert not left, f"still there: {left}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@needs_redis
def test_it_answers_until_it_is_stopped(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "new" / "folder")
    assert (server.running, server.pid) == (False, None)
    with server:
        pid = server.pid
        assert server.start() is server
        assert (server.running, server.pid) == (True, pid)
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert command(server.port, "PING") == "PONG"
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (server.running, server.pid) == (False, None)
    with pytest.raises(ConnectionRefusedError):
        command(server.port, "PING")
    server.stop()
    server.kill()


@needs_redis
@pytest.mark.parametrize("appendonly", [True, False])
def test_only_what_was_appended_outlives_a_kill(tmp_path: Path, appendonly: bool) -> None:
    with RedisServer(tmp_path, appendonly=appendonly) as server:
        port = server.port
        server.command("SET", "k", "v")
        server.kill()
        assert not server.running
        server.start()
        kept = "v" if appendonly else None
        assert (server.port, server.command("GET", "k")) == (port, kept)
        server.restart()
        assert (server.port, server.command("GET", "k")) == (port, kept)


@needs_redis
def test_a_frozen_one_stands_still_until_it_is_thawed(server: RedisServer) -> None:
    for _ in range(2):
        server.freeze()
        server.freeze()
        assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
        assert server.running
        with pytest.raises(TimeoutError):
            command(server.port, "PING", patience=0.1)
        server.thaw()
        assert command(server.port, "PING") == "PONG"


@needs_redis
@pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
def test_a_frozen_one_can_be_ended(server: RedisServer, end: object) -> None:
    server.freeze()
    assert callable(end)
    end(server)
    assert not server.running
    with pytest.raises(RuntimeError, match="does not run"):
        server.freeze()


@needs_redis
def test_one_that_ended_by_itself_starts_again(server: RedisServer) -> None:
    with pytest.raises(ConnectionError):
        server.command("SHUTDOWN", "NOW")
    until(lambda: not server.running, "it ends", PATIENCE)
    assert server.start().command("PING") == "PONG"


@needs_redis
def test_the_log_says_why_one_did_not_start(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, options=["no-such-option yes"])
    with pytest.raises(ServerDidNotStart, match=r"redis ended with 1(?s:.)*no-such-option"):
        server.start()
    assert (server.running, server.pid) == (False, None)


@needs_redis
def test_a_port_that_is_taken_is_changed_before_the_first_start_only(server: RedisServer, tmp_path: Path) -> None:
    second = RedisServer(tmp_path / "second")
    second.ports = list(server.ports)
    with second:
        assert second.port != server.port
        assert second.info("server")["process_id"] == str(second.pid)
        second.stop()
        with socket.create_server((HOST, second.port)), pytest.raises(ServerDidNotStart, match="already in use"):
            second.start()


@needs_redis
def test_many_start_at_once(tmp_path: Path) -> None:
    servers = [RedisServer(tmp_path / str(n)) for n in range(6)]
    for server in servers[1:]:
        server.ports = list(servers[0].ports)
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(RedisServer.start, servers))
        assert len({server.port for server in servers}) == len(servers)
        assert [server.info("server")["process_id"] for server in servers] == [str(server.pid) for server in servers]
    finally:
        for server in servers:
            server.stop()


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert set(ports) <= set(PORTS)
    with socket.create_server((HOST, ports[0])):
        assert not is_free(ports[0])
    assert is_free(ports[0])
    with pytest.raises(OSError, match="free ports"):
        free_ports(len(PORTS) + 1)


SCRIPT = """
import os, sys
from pathlib import Path
from tests.rigs.servers.redis import RedisServer

server = RedisServer(Path(sys.argv[1])).start()
if os.fork() == 0:
    sys.exit()  # runs what is registered for the interpreter's exit, in the child
os.wait()
print(server.command("PING"), server.pid, flush=True)
sys.stdin.readline()
"""


@needs_redis
@pytest.mark.parametrize("killed", [False, True])
def test_none_outlives_the_program_that_started_it(tmp_path: Path, killed: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        answer, pid = program.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert (answer, server.is_running()) == ("PONG", True)
        if killed:
            program.kill()
        else:
            program.stdin.write("end\n")
            program.stdin.flush()
        assert program.wait() == (-signal.SIGKILL if killed else 0)
        # In a container without an init, whom nobody waits for stays a zombie.
        until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the server is gone", PATIENCE)


@needs_redis
def test_replies_are_read_as_what_they_are(server: RedisServer) -> None:
    text = "two\r\nlines: ☃"
    assert command(server.port, "SET", "k", text) == "OK"
    assert command(server.port, "GET", "k") == text
    assert command(server.port, "GET", "none") is None
    assert command(server.port, "RPUSH", "l", 1, b"\xff", "") == 3
    assert command(server.port, "LRANGE", "l", 0, -1) == ["1", "\udcff", ""]
    assert command(server.port, "EVAL", "return {1, {'a', {}}, false}", 0) == [1, ["a", []], None]
    with pytest.raises(RedisError, match="WRONGTYPE"):
        command(server.port, "GET", "l")


def ping(connection: socket.socket, password: str) -> list[bytes]:
    with connection, connection.makefile("rb") as replies:
        connection.sendall(f'AUTH "{password}"\r\nPING\r\n'.encode())
        return [replies.readline(), replies.readline()]


@needs_redis
def test_every_way_in_asks_for_the_password(tmp_path: Path) -> None:
    password = "a b/@:ü"
    with RedisServer(tmp_path, password=password, tls=True) as server:
        with pytest.raises(RedisError, match="NOAUTH"):
            command(server.port, "PING")
        assert server.command("PING") == "PONG"
        plain, unix, tls = urlsplit(server.url), urlsplit(server.unix_url), urlsplit(server.tls_url)
        assert (plain.scheme, unix.scheme, tls.scheme) == ("redis", "unix", "rediss")
        assert [unquote(url.password or "") for url in (plain, unix, tls)] == [password] * 3
        assert ping(socket.create_connection((plain.hostname, plain.port)), password) == [b"+OK\r\n", b"+PONG\r\n"]
        by_unix = socket.socket(socket.AF_UNIX)
        by_unix.connect(unquote(unix.path))
        assert ping(by_unix, password) == [b"+OK\r\n", b"+PONG\r\n"]
        trusting = ssl.create_default_context(cafile=parse_qs(tls.query)["ssl_ca"][0])
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        for name in ("127.0.0.1", "localhost"):
            by_tls = trusting.wrap_socket(socket.create_connection((tls.hostname, tls.port)), server_hostname=name)
            assert ping(by_tls, password) == [b"+OK\r\n", b"+PONG\r\n"]
        with socket.create_connection((tls.hostname, tls.port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    available.cache_clear()
    try:
        assert "apt install redis-server" in (available() or "")
        (tmp_path / "redis-server").write_text("#!/bin/sh\necho Redis server v=6.2.1 sha=0\n")
        os.chmod(tmp_path / "redis-server", 0o755)
        available.cache_clear()
        assert "7.0 or newer" in (available() or "")
    finally:
        available.cache_clear()


@needs_redis
@pytest.mark.slow
def test_sentinels_promote_the_replica(tmp_path: Path) -> None:
    with RedisSentinels(tmp_path) as servers:
        ports = [each.port for each in servers.sentinels]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        assert servers.url == f"redis+sentinel://{hosts}/mymaster/0"
        assert servers.masters() == {servers.master.port}
        servers.master.command("SET", "k", "v")
        servers.master.command("WAIT", 1, 5000)
        servers.master.kill()
        until(lambda: servers.masters() == {servers.replica.port}, "the Sentinels name the replica", PATIENCE)
        until(lambda: servers.replica.info("replication")["role"] == "master", "the replica leads", PATIENCE)
        assert servers.replica.command("GET", "k") == "v"
        servers.master.start()
        # Sentinels ask a server what it is every 10 s, and wait 8 s more before they make it follow: 18 s, and then some.
        until(lambda: servers.master.info("replication")["role"] == "slave", "the old master follows", 3 * PATIENCE)
        servers.master.restart()
        assert servers.master.info("replication")["role"] == "slave"
    assert not any(server.running for server in servers.servers)


@needs_redis
@pytest.mark.slow
def test_a_slot_of_the_cluster_moves_with_its_keys(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        assert cluster.url == "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
        slot = cluster.slot_of("{tag}")
        old = cluster.owner_of(slot)
        new, other = (node for node in cluster.nodes if node is not old)
        keys = [f"{{tag}}{n}" for n in range(250)]
        for key in keys:
            old.command("SET", key, f"value of {key}")
        cluster.move_slot(slot, new)
        assert cluster.owner_of(slot) is new
        assert [new.command("GET", key) for key in keys] == [f"value of {key}" for key in keys]
        for node in (old, other):
            with pytest.raises(RedisError, match=f"MOVED {slot} 127.0.0.1:{new.port}"):
                node.command("GET", keys[0])
        cluster.move_slot(slot, new)
        cluster.move_slot(slot, old)
        assert old.command("GET", keys[0]) == f"value of {keys[0]}"


@needs_redis
@pytest.mark.slow
def test_the_cluster_is_in_order_again_after_a_node_was_killed(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as cluster:
        assert [cluster.owner_of(slot) for slot in (0, 8192, 16383)] == cluster.nodes
        for key in ("a", "{b}c", "d{e}", "{}f", "g{h", "i}j{k}", "ü"):
            assert slot_of(key) == cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)
        cluster.nodes[0].kill()
        assert cluster.owner_of(16383) is cluster.nodes[2]
        until(lambda: "cluster_state:fail" in cluster.nodes[1].command("CLUSTER", "INFO"), "its loss is seen", PATIENCE)
        cluster.start()
        assert all("cluster_state:ok" in node.command("CLUSTER", "INFO") for node in cluster.nodes)
    assert not any(node.running for node in cluster.nodes)
