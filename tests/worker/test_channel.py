"""What a worker process tells its supervisor arrives as it was."""

from __future__ import annotations

from longboat import Longboat
from longboat.worker import channel


def test_a_url_arrives_with_its_password() -> None:
    """The supervisor hands back a dead worker's jobs by it."""
    ours, theirs = channel.pair()
    theirs.send(channel.BROKER, Longboat("redis://me:secret@host/0").url)
    theirs.send(channel.BYE)
    assert ours.poll() == [(channel.BROKER, "redis://me:secret@host/0"), (channel.BYE, "")]
    ours.close()
    theirs.close()
