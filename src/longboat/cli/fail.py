"""How a command that failed ends: two lines on standard error, and the exit status."""

from __future__ import annotations

from longboat import errors
from longboat.core.text import counted, escaped
from longboat.errors import LongboatError

DONE = 0
FAILED = 1
USAGE = 2
APP = 3
BROKER = 4
UNHEALTHY = 5
WAITED = 6
INTERRUPTED = 130

LONGEST = 1000
"""Characters of a line: messages of jobs can be of any length."""


class CommandFailed(Exception):
    """What went wrong, what to do about it, and the exit status."""

    def __init__(self, what: str, advice: str, status: int = FAILED) -> None:
        self.what = what
        self.advice = advice
        self.status = status
        super().__init__(what, advice, status)


# The first class that fits counts.
_ADVICE: list[tuple[type[LongboatError], int, str]] = [
    (errors.AppNotFound, APP, "Name the app as module:attribute, or by LONGBOAT_APP."),
    (errors.MissingExtra, APP, "Install what the message names."),
    (errors.ConfigError, APP, "Correct it; `longboat doctor` shows where each setting comes from."),
    (errors.BrokerMisconfigured, APP, "Correct the URL, or what it names; `longboat doctor` finds out more."),
    (errors.BrokerFull, BROKER, "Free some disk space, or delete ended jobs: `longboat purge --state succeeded`."),
    (errors.StoreTooNew, BROKER, "Upgrade Longboat here, or name another store by --url or LONGBOAT_URL."),
    (errors.BrokerUnavailable, BROKER, "Try again later; `longboat doctor` finds out more."),
    (errors.Unsupported, USAGE, "`longboat doctor --verbose` lists what this broker does not support."),
    (errors.BrokerError, BROKER, "Check the URL (--url, LONGBOAT_URL); `longboat doctor` finds out more."),
    (
        errors.BadArguments,
        USAGE,
        "Each argument is read as JSON if possible, else as text; for a number as text, quote it twice: '\"10\"'.",
    ),
    (
        errors.UnknownTask,
        USAGE,
        "Name one of the app's tasks; with --url a task goes by its name alone, without the app's code.",
    ),
    (errors.TooLarge, USAGE, "Put large data in a file and pass its path."),
    (errors.JobNotFound, FAILED, "Check the id, and the broker's URL (--url, LONGBOAT_URL); `longboat doctor` shows it."),
    (errors.JobCancelled, FAILED, "Enqueue it again if it should run."),
    (errors.ResultTimeout, WAITED, "Wait longer, or check again later: `longboat result ID --wait`."),
]


def told(error: LongboatError) -> tuple[str, str, int]:
    """What went wrong, what to do, and the exit status, for one of our own errors."""
    if isinstance(error, errors.JobFailed):
        head = f"job {error.job_id} ({error.task}) is dead after {counted(error.attempts, 'attempt')}"
        advice = f"See each attempt: `longboat dead show {error.job_id}`. Retry it: `longboat dead retry {error.job_id}`."
        return f"{head}: {error.type}: {error.message}", advice, FAILED
    what, _, advice = str(error).partition("\n")
    for kind, status, usual in _ADVICE:
        if isinstance(error, kind):
            return what, advice or usual, status
    return what, advice or "`longboat doctor` may find out more.", FAILED


def line(text: str) -> str:
    """The text on one line of limited length, without anything that a terminal would obey."""
    one = " ".join(text.split())
    shown = escaped(one)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
