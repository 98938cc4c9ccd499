"""Our side: the app that the worker runs, and `python -m bench.latency.ours`, which answers what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.jobs import app
from bench.latency.due import note
from bench.latency.load import Side, answered, run

__all__ = ["app"]


@app.task(keep_result=0)
async def timed(due: float) -> None:
    note(due)


@app.task
async def kept(due: float) -> None:
    note(due)


async def put(dues: Sequence[float]) -> None:
    await asyncio.gather(*[timed.aenqueue(due) for due in dues])


async def ask(due: float) -> None:
    await (await kept.aenqueue(due))


if __name__ == "__main__":
    run(answered(Side(put, ask)))
    app.close()
