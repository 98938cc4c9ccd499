"""The tasks that are measured on Redis only, beside those of bench/jobs.py, in the same app."""

from __future__ import annotations

from bench.jobs import app
from bench.peers.marks import mark

__all__ = ["app"]


@app.task(keep_result=0)
async def marked() -> None:
    """What the other queues' jobs do."""
    mark()


@app.task
def plain() -> None:
    """Nothing, in a thread, and the result is kept."""


@app.task(keep_result=0)
def plain_forgotten() -> None:
    """Nothing, in a thread, and nothing is kept."""


@app.task
def told(text: str) -> None:
    """Never run: its message is weighed."""
