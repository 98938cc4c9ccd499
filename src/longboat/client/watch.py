"""Watching a job: its state and its progress, whenever they change, until it has ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from longboat.client.elsewhere import Elsewhere
from longboat.client.waiting import check_may_block, from_threads, value_of
from longboat.contract.broker import Broker
from longboat.core.job import Result, State
from longboat.errors import BrokerUnavailable, Unsupported
from longboat.operate.traces import trace
from longboat.tasks.handle import Handle, Progress, Update

if TYPE_CHECKING:
    import asyncio

EVERY = 0.4
"""Seconds between looks. The end of the job is heard of at once."""

Looking = tuple[Callable[[], Update | None], Callable[[], None]]
"""How to look, and what is to be called at last."""


def watch(broker: Broker, handle: Handle[Any]) -> Iterator[Update]:
    """See Handle.watch."""
    check_may_block("watch()", "use `async for` with `awatch()`")
    heard = threading.Event()
    look, end = _looking(broker, handle, heard.set)
    last: Update | None = None
    try:
        while last is None or not last.state.ended:
            update = look()
            if update is None or update == last:
                heard.wait(EVERY)
                heard.clear()
            else:
                last = update
                yield update
    finally:
        end()


async def awatch(broker: Broker, handle: Handle[Any]) -> AsyncIterator[Update]:
    """See Handle.awatch."""
    import asyncio

    heard = asyncio.Event()
    # A future, not a task: those are cancelled at the end of `asyncio.run`.
    looking = asyncio.get_running_loop().run_in_executor(None, _looking, broker, handle, from_threads(heard.set))
    try:
        look, end = await asyncio.shield(looking)
    except asyncio.CancelledError:
        looking.add_done_callback(_end)
        raise
    last: Update | None = None
    try:
        while last is None or not last.state.ended:
            update = await asyncio.to_thread(look)
            if update is None or update == last:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), EVERY)
                heard.clear()
            else:
                last = update
                yield update
    finally:
        await asyncio.to_thread(end)


def _end(looking: asyncio.Future[Looking]) -> None:
    """Nobody watches any more. In a thread of its own: the loop must not wait for the broker, and may be about to close."""
    if not looking.cancelled() and looking.exception() is None:
        threading.Thread(target=looking.result()[1], name="longboat-watch", daemon=True).start()


def _looking(broker: Broker, handle: Handle[Any], heard: Callable[[], None]) -> Looking:
    """`heard` is called once the job has ended."""
    try:
        end = handle.client.subscribe([handle], lambda _: heard())
    except Unsupported:
        elsewhere = Elsewhere(broker, handle.id)
        return elsewhere.look, elsewhere.close
    return partial(_look, broker, handle), end


def _look(broker: Broker, handle: Handle[Any]) -> Update | None:
    """None while the broker cannot be reached. Raises JobNotFound."""
    try:
        view = handle.view()
        progress = handle.progress() or Progress(0.0)
    except BrokerUnavailable:
        return None
    except Unsupported:
        return _traced(broker, handle)
    error = view.failures[-1].message if view.failures else ""
    return Update(view.state, progress.done, progress.total, progress.text, error)


def _traced(broker: Broker, handle: Handle[Any]) -> Update | None:
    """Of a job that cannot be looked up: its end is told to this process, and workers tell that they run it."""
    try:
        found = trace(broker, handle.id)
    except BrokerUnavailable:
        return None
    progress = found.progress or Progress(0.0)
    state, error = State.RUNNING if found.worker or found.progress else State.READY, ""
    match handle.known:
        case Result(of=failed) if failed:
            value_of(handle)  # raises: it will not start
        case Result() as ended:
            state, error = ended.state, ended.failure.message if ended.failure else ""
        case None:
            error = found.failure.message if found.failure else ""
        case wrong:
            raise wrong
    return Update(state, progress.done, progress.total, progress.text, error)
