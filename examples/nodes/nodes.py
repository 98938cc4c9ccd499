"""An asyncio scheduling system: a scheduler, four execution nodes, a task queue and a result queue, all coroutines.

The task queue and the result queue are the broker's. With LONGBOAT_URL=redis://… the nodes may run on other machines, too:
start `longboat worker nodes:app` there.
"""

import asyncio
import contextlib
from collections import Counter

from longboat import Longboat, as_completed, events

app = Longboat("memory://")
NODES = 4


@app.task
async def measure(sensor: int) -> float:
    await asyncio.sleep(0.05)  # asks a device on the network
    return sensor / 10


async def scheduler(rounds: int) -> list[float]:
    """Each round asks every sensor, and takes the answers as they come."""
    answers = []
    for _ in range(rounds):
        jobs = await measure.aenqueue_many((sensor,) for sensor in range(100))
        async for job in as_completed(jobs, timeout="30s"):
            answers.append(await job)
    return answers


async def main() -> None:
    started: Counter[str] = Counter()

    def count(event: events.Event) -> None:
        if isinstance(event, events.JobStarted):
            started[event.worker] += 1

    app.bus.listen(count, every_job=True)
    async with contextlib.AsyncExitStack() as nodes:
        for _ in range(NODES):
            await nodes.enter_async_context(app.worker(concurrency=10))
        answers = await scheduler(rounds=4)
    print(f"{len(answers)} answers, the largest {max(answers)}")
    print(f"{len(started)} nodes ran between {min(started.values())} and {max(started.values())} jobs each")


if __name__ == "__main__":
    asyncio.run(main())
