"""`longboat top` on a real terminal: what it draws, what its keys do, and that it gives the terminal back."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import Longboat
from longboat.cli import live, top
from longboat.cli.ids import short
from longboat.contract.broker import Settlement
from longboat.core.job import Dead, Failure, State
from longboat.operate import audit, pauses

STYLE = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")
FRAME = re.compile(r"\x1b\[\?2026h\x1b\[H(.*?)\x1b\[J\x1b\[\?2026l", re.S)


class Person:
    """Somebody at a terminal on which `top` runs in this process."""

    def __init__(self, app: Longboat, columns: int = 80, lines: int = 14) -> None:
        self.ours, self.theirs = os.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.theirs)
        self.seen = ""
        look = lambda: top.seen(app.broker)  # noqa: E731  # it is a callback
        self.thread = threading.Thread(
            target=lambda: live.run(app.broker, look, app.url, 0.2, self.theirs, self.theirs, colours=True)
        )
        self.thread.start()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def sees(self, *texts: str) -> list[str]:
        """Wait until all of these are on the screen; its lines."""
        end = time.monotonic() + 30
        while True:
            shown = self.screen()
            if all(any(text in line for line in shown) for text in texts):
                return shown
            assert time.monotonic() < end, (texts, shown)
            if select.select([self.ours], [], [], 0.05)[0]:
                self.seen = (self.seen + os.read(self.ours, 65536).decode())[-100_000:]

    def screen(self) -> list[str]:
        frames = FRAME.findall(self.seen)
        return STYLE.sub("", frames[-1]).split("\r\n") if frames else []

    def quit(self) -> None:
        self.press("q")
        self.thread.join(30)
        assert not self.thread.is_alive()

    def close(self) -> None:
        if self.thread.is_alive():
            self.quit()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with Longboat(f"sqlite:///{tmp_path}/longboat.db") as made:
        yield made


@pytest.fixture
def dead(app: Longboat) -> list[str]:
    """The ids of three jobs that died alike."""
    mail = app.named("mail.send")
    ids = [handle.id for handle in mail.enqueue_many([(n,) for n in range(3)])]
    consumer = app.broker.consumer(["default"], lease=60.0)
    for _ in ids:
        (lease,) = consumer.receive(1, wait=10.0)
        consumer.settle([Settlement(lease, Dead(Failure("shop.MailboxFull", "no room")))])
    consumer.close()
    return ids


@pytest.fixture
def person(app: Longboat, dead: list[str]) -> Iterator[Person]:
    app.named("tasks.add").using(queue="other").enqueue_many([(n, n) for n in range(15 - len(dead))])
    made = Person(app)
    yield made
    made.close()


def test_the_views_their_rows_and_what_keys_do_to_them(person: Person, app: Longboat, dead: list[str]) -> None:
    shown = person.sees("1 queues", "default", "other")
    assert len(shown) == 14
    assert shown[1].startswith("ready 12  running 0  dead 3  done/s 0.0")
    assert shown[3].split() == ["queue", "ready", "scheduled", "waiting", "running", "dead", "done/s", "failed/s"]
    person.press("\x1b[Bp")
    person.sees("queue other is paused; p resumes it", "paused")
    assert pauses.paused(app.broker.kv)["queue"] == {"other"}
    person.press("p")
    person.sees("queue other is resumed")
    person.press("2")
    shown = person.sees("id ", "tasks.add")
    assert dead[0] not in "".join(shown)
    person.press("\x1b[F")
    person.sees(short(dead[0]), "shop.MailboxFull: no room")
    person.press("\r")
    person.sees(f"id:         {dead[0]}", "state:      dead")
    person.press("\x1br")
    person.sees(f"Retry the dead jobs of state:dead id:{dead[0]}? y/n")
    person.press("n?")
    person.sees("this help")
    assert app.job(dead[0]).status() is State.DEAD
    person.press("1")
    person.sees("queue ", "other")
    person.press("\x1b[Hr")
    person.sees("Retry the dead jobs of state:dead queue:default? y/n")
    person.press("y")
    person.sees("retried 3 dead jobs", "ready 15")
    assert {app.job(each).status() for each in dead} == {State.READY}
    assert {entry.verb for each in dead for entry in audit.of_job(app.broker.kv, each)} == {"retry"}


def test_enter_leads_to_jobs_and_escape_back(person: Person) -> None:
    person.sees("default")
    person.press("\r")
    person.sees("queue:default", "shop.MailboxFull")
    person.press("\x1b")
    person.sees("queue ", "other")
    person.press("3")
    person.sees("no workers")
    person.press("4")
    person.sees("no failures")
    person.press("5")
    person.sees("no tasks")


@pytest.mark.parametrize("columns", [44, 60, 132])
def test_it_fits_the_terminal_whatever_becomes_of_that(columns: int, person: Person) -> None:
    person.sees("default")
    person.press("2")
    person.sees("tasks.add")
    person.resize(columns, 9)
    end = time.monotonic() + 30
    while len(shown := person.sees("tasks.add")) != 9:
        assert time.monotonic() < end, shown
        person.seen += os.read(person.ours, 65536).decode()
    assert max(map(len, shown)) <= columns


def test_a_broker_that_fails_is_told_and_the_terminal_is_given_back(person: Person, app: Longboat) -> None:
    person.sees("default")
    app.broker.close()
    person.sees("Error: ", "default")
    person.quit()
    assert termios.tcgetattr(person.theirs) == person.before
    person.seen += os.read(person.ours, 65536).decode()
    assert person.seen.endswith("\x1b[?25h\x1b[?1049l")
