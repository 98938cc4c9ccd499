"""RabbitmQ alone: a schedule whose job has not ended skips its ticks, and one that cannot be fired is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from longboat import Longboat, Unsupported, every
from longboat.core import urls
from longboat.core.clock import SYSTEM
from longboat.operate import scheduler
from tests.rigs.broker import URLS
from tests.rigs.cli import Shell
from tests.rigs.harnesses import unavailable
from tests.rigs.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(unavailable("rabbitmq") is not None, reason=str(unavailable("rabbitmq")))]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Longboat]:
    with URLS["rabbitmq"](tmp_path) as url, Longboat(url) as made:
        yield made


def test_ticks_are_skipped_until_the_job_has_ended_in_whatever_way(app: Longboat) -> None:
    ends = [threading.Event() for _ in range(3)]
    began: list[float] = []
    others: list[float] = []

    @app.schedule(every("1s"), overlap="skip")
    @app.task(name="slow")
    def slow() -> None:
        began.append(SYSTEM.now())
        ends[len(began) - 1].wait(30)
        if len(began) == 1:
            raise ValueError("dead")

    @app.schedule(every("1s"))
    @app.task(name="quick")
    def quick() -> None:
        others.append(SYSTEM.now())

    with app.worker(threads=4):
        for number, end in enumerate(ends[:2]):
            until(lambda number=number: len(began) == number + 1, 10)  # type: ignore[misc]  # an argument with a default
            seen = len(others)
            until(lambda seen=seen: len(others) >= seen + 2, 10)  # type: ignore[misc]  # mypy cannot type a default of a lambda
            assert len(began) == number + 1
            end.set()
        until(lambda: len(began) == 3, 10)
        (shown,) = [each for each in scheduler.listed(app.broker, SYSTEM.now()) if each.name == "slow"]
        assert (shown.problem, len(shown.due)) == ("", 1)
        ends[2].set()


def test_what_cannot_be_fired_is_refused_and_shown(app: Longboat, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @app.schedule(every("1s"), overlap="wait", name="queues up")
    @app.task(name="t")
    def t() -> None: ...

    with pytest.raises(Unsupported, match=r'schedule \'by hand\': overlap="wait" needs limits'):
        app.add_schedule(t, every("1s"), overlap="wait", name="by hand")
    with app.worker(threads=1):
        until(lambda: "schedule queues up is not fired" in caplog.text, 10)
        shell, url = Shell(tmp_path), urls.whole(app.url)
        assert 'overlap="wait" needs limits' in shell.run("schedules", "list", "--url", url).out
        doctor = shell.run("doctor", "--url", url).out
        assert "schedule queues up is not fired" in doctor
        assert "workers" in doctor
