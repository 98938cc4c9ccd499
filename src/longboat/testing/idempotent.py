"""Whether a task may run twice: its worker dies after each step, and what two runs leave behind is compared with one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from longboat.testing.faults import Fault
from longboat.testing.steps import Step, deadly, recorded

SHOWN = 10
"""Steps in a message, at most."""


def check(run: Callable[[Fault | None], None], task: str, effects: Callable[[], Any], reset: Callable[[], object]) -> None:
    """`run` runs the job until it has ended, with this fault in its first run; raises what it raised where it is dead.

    Raises AssertionError as `Harness.assert_idempotent` says.
    """
    __tracebackhide__ = True

    def after(fault: Fault | None) -> Any:
        reset()
        run(fault)
        return copy.deepcopy(effects())  # it may be the world itself, which the next run changes

    steps: list[Step] = []
    clean = after(None)
    if (again := after(Fault(task, steps=recorded(steps), survives=True))) != clean:
        raise AssertionError(
            f"{task}: two undisturbed runs differ, so none with a fault can be compared: {clean!r}, then {again!r}. "
            "`reset` must undo all that a run does, and `effects` leave out what no two runs share, such as times and ids"
        )
    found: list[str] = []
    for number in range(len(steps) + 1):
        end = number == len(steps)
        fault = Fault(task) if end else Fault(task, steps=deadly(number))
        where = "its last line, before its end was known to the broker" if end else str(steps[number])
        try:
            left = after(fault)
        except Exception as error:
            found.append(f"{where}\n      the second run failed: {type(error).__name__}: {error}")
        else:
            if left != clean:
                found.append(f"{where}\n      {left!r}")
    if found:
        raise AssertionError(_message(task, clean, found, len(steps) + 1))


def _message(task: str, clean: Any, found: list[str], steps: int) -> str:
    lines = [
        f"{task} is not idempotent: a second run leaves other effects in {len(found)} of {steps} cases.",
        f"Undisturbed: {clean!r}",
        *(f"  died after {each}" for each in found[:SHOWN]),
    ]
    if len(found) > SHOWN:
        lines.append(f"  … and {len(found) - SHOWN} more")
    return "\n".join(lines)
