"""Our job beside the other queues', in the app of bench/jobs.py."""

from __future__ import annotations

from bench.jobs import app
from bench.peers.marks import mark

__all__ = ["app"]


@app.task(keep_result=0)
async def marked() -> None:
    """What the other queues' jobs do."""
    mark()
