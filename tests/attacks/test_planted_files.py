"""Attempts of another user, who may write the database's directory, to have a process of ours write elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from longboat.brokers.sqlite import SqliteBroker
from longboat.core.job import Job, new_id
from longboat.errors import BrokerUnavailable

NOBODY, GROUP = 65534, 65533
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
SECRET = b"a file of ours"


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory such as /tmp, in one that everybody may enter."""
    above = Path(tempfile.mkdtemp(prefix="longboat-attack-"))
    above.chmod(0o711)
    (folder := above / "tmp").mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(above)


def as_user(user: int, do: Callable[[], None], group: int = NOBODY) -> None:
    """Do it in a process of that user; fails if it raises."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(0o007)
            do()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def job() -> Job:
    return Job(1, new_id(), "t", b"\x80", "q")


def plant_directory(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / "c-x.every.").symlink_to(victim)
    (path / "l-x").symlink_to(victim)


def plant_link(path: Path, victim: Path) -> None:
    """To a directory of ours that holds the victim under a bell's name."""
    path.symlink_to(victim.parent)


@pytest.mark.parametrize("plant", [plant_directory, plant_link])
def test_zeros_are_written_into_a_file_of_ours(
    open_to_all: Path, plant: Callable[[Path, Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (ours := open_to_all.parent / "ours").mkdir()
    victim = ours / "c-x.every."
    victim.write_bytes(SECRET)
    as_user(NOBODY, lambda: plant(open_to_all / "jobs.db-wake", victim))
    with closing(SqliteBroker(open_to_all / "jobs.db")) as broker, closing(broker.consumer(["q"], lease=10.0)) as consumer:
        for _ in range(3):
            broker.put([job()])
            began = time.monotonic()
            (lease,) = consumer.receive(1, wait=5.0)
            assert time.monotonic() - began < 2, "it looks by itself"
        assert lease
    assert victim.read_bytes() == SECRET
    assert [path.name for path in ours.iterdir()] == [victim.name]
    assert "twice a second" in caplog.text


def test_a_lock_leads_to_a_file_of_ours(open_to_all: Path) -> None:
    victim = open_to_all.parent / "not-there"
    as_user(NOBODY, lambda: (open_to_all / "jobs.db-lock").symlink_to(victim))
    with closing(SqliteBroker(open_to_all / "jobs.db")) as broker, pytest.raises(BrokerUnavailable, match=r"jobs\.db-lock"):
        broker.put([job()])
    assert not victim.exists()


def test_a_group_that_shares_the_file_shares_all_of_it(open_to_all: Path) -> None:
    (shared := open_to_all / "shared").mkdir()
    os.chown(shared, -1, GROUP)
    shared.chmod(0o2770)
    file = shared / "jobs.db"

    def put() -> None:
        with closing(SqliteBroker(file)) as broker:
            broker.put([job()])

    with closing(SqliteBroker(file)) as first:
        first.put([job()])
    for each in shared.iterdir():
        os.chown(each, 1234, GROUP)
        each.chmod(0o2770 if each.is_dir() else 0o660)
    with closing(SqliteBroker(file)) as broker, closing(broker.consumer(["q"], lease=10.0)) as consumer:
        assert len(consumer.receive(5, wait=1.0)) == 1
        for user in (NOBODY, 1234, 1235):
            as_user(user, put, GROUP)
            began = time.monotonic()
            assert len(consumer.receive(1, wait=5.0)) == 1
            assert time.monotonic() - began < 0.4, "rung, not found by a look"
    for name in ("jobs.db-wake", "jobs.db-lock"):
        found = (shared / name).stat()
        assert found.st_gid == GROUP
        assert not found.st_mode & stat.S_IRWXO


def test_a_put_that_stored_has_succeeded_though_nobody_can_be_rung(open_to_all: Path) -> None:
    file = open_to_all / "jobs.db"
    with closing(SqliteBroker(file)) as broker, closing(broker.consumer(["q"], lease=10.0)) as consumer:
        for each in open_to_all.iterdir():
            if each.is_file():
                os.chown(each, NOBODY, NOBODY)

        def put() -> None:
            with closing(SqliteBroker(file)) as other:
                other.put([job()])

        as_user(NOBODY, put)  # the directory of bells is root's alone
        assert len(consumer.receive(1, wait=5.0)) == 1
