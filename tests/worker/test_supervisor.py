"""What the supervisor of worker processes decides by what they tell it."""

from __future__ import annotations

import pytest

from longboat.worker import channel
from longboat.worker.supervisor import WORN_MOST, Supervisor, _Process


def test_the_oldest_of_too_many_worn_processes_has_the_grace_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor(lambda _: 0, lambda *_: None, workers=1, grace=7.0, silence=20.0)
    made, ends = list[_Process](), list[channel.Channel]()
    for number in range(WORN_MOST + 2):
        ours, theirs = channel.pair()
        made.append(_Process(100 + number, ours))
        ends.append(theirs)
        supervisor._processes[100 + number] = made[-1]  # no real one: it is not there to be signalled
        supervisor._hear_of_its_end(made[-1], channel.WORN, "")
        assert supervisor._starts == [0.0], "another one takes its place"
        supervisor._starts.clear()
        asked = [process.pid for process in made if process.kill_at is not None]
        assert asked == [process.pid for process in made[:-WORN_MOST]]
    for process, end in zip(made, ends, strict=True):
        process.channel.close()
        assert list(end.lines()) == ([(channel.STOP, "")] if process.pid in asked else [])
        end.close()
    assert "3 replaced worker processes still run jobs; 100 has 7 s to end" in capsys.readouterr().err
