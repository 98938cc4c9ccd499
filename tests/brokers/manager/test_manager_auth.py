"""Who does not have the key gets nothing, is told so, and keeps nobody else out."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path

import pytest

from longboat import connect
from longboat.brokers.manager import frames
from longboat.errors import BrokerMisconfigured, BrokerUnavailable, ConfigError
from tests.rigs.manager import client, exactly, job, served, wrong_hello


def test_a_wrong_key_is_refused_and_both_sides_say_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "longboat.serve")
    refused = pytest.raises(BrokerMisconfigured, match="refuses this authkey")
    with served() as server, client(server, key=b"wrong") as broker, refused:
        broker.put([job()])
    assert any("another authkey" in record.getMessage() for record in caplog.records)


def test_a_server_without_the_key_is_refused() -> None:
    """It takes any client's proof, and cannot give its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def impostor() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(frames.MAGIC + bytes(32))
                exactly(peer, len(frames.MAGIC) + 64)
                peer.sendall(b"+" + bytes(32))
                peer.recv(1)

        thread = threading.Thread(target=impostor)
        thread.start()
        with client(listening.getsockname()[:2]) as broker, pytest.raises(BrokerUnavailable, match="could not prove"):
            broker.put([job()])
        thread.join()


def test_a_wrong_proof_is_told_nothing() -> None:
    with served() as server:
        assert wrong_hello(server.address) == b"-" + bytes(32)


def test_another_protocol_is_sent_away() -> None:
    with served() as server, socket.create_connection(server.address) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        peer.settimeout(5)
        assert len(exactly(peer, 1 << 16)) <= len(frames.MAGIC) + frames.NONCE


def test_a_slow_handshake_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HANDSHAKE", 0.3)
    with served() as server, socket.create_connection(server.address) as peer:
        peer.settimeout(5)
        began = time.monotonic()
        exactly(peer, 1 << 16)  # to the end
        assert 0.25 < time.monotonic() - began < 3


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_AUTHKEY", raising=False)
    with served() as server:
        url = f"manager://127.0.0.1:{server.address[1]}"
        key = tmp_path / "key"
        key.write_bytes(b"k" * 32 + b"\n")
        monkeypatch.setenv("LONGBOAT_AUTHKEY", "k" * 32)
        for each in (url, f"{url}?authkey_file={key}&timeout=1s"):
            broker = connect(each)
            assert broker.inspector.counts() == {}
            broker.close()
        monkeypatch.delenv("LONGBOAT_AUTHKEY")
        with pytest.raises(ConfigError, match="LONGBOAT_AUTHKEY"):
            connect(url)
        with pytest.raises(ConfigError, match="unknown option 'authkey'") as told:
            connect(f"{url}?authkey={'k' * 32}")
        assert "kkk" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("manager://", "manager://host:5000"),
        ("manager://host", "manager://host:5000"),
        ("manager://host:99999", "host:port"),
        ("manager://host:1/queue", "manager://host:5000"),
        ("manager://host:1?timeout=0", "above 0"),
        ("manager://host:1?authkey_file=/nowhere/key", "cannot be read"),
        ("manager://host:1?speed=1", "speed"),
    ],
)
def test_a_wrong_url_is_told(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_AUTHKEY", "secret")
    with pytest.raises(ConfigError) as raised:
        connect(url)
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)
