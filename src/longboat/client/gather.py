"""Many handles at once: as_completed and gather."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from longboat.client.waiting import WAKE_UP, Looks, check_may_block, coming, from_threads
from longboat.core.clock import Duration, seconds
from longboat.errors import again
from longboat.tasks.handle import Handle, HandleClient

R = TypeVar("R")


class AsCompleted(Generic[R]):
    """Handles in the order in which their jobs end. Iterate over it once, by `for` or `async for`."""

    def __init__(self, handles: Iterable[Handle[R]], timeout: Duration | None) -> None:
        self._handles = list(handles)
        self._timeout = None if timeout is None else seconds(timeout, "timeout")

    def __iter__(self) -> Iterator[Handle[R]]:
        import queue

        check_may_block("waiting for jobs", "use `async for`, or `await gather(…)`,")
        arrived: queue.SimpleQueue[str] = queue.SimpleQueue()
        waiting = _by_id(self._handles)
        looks = self._looks(waiting)
        end = _subscribe(self._handles, arrived.put)
        try:
            while waiting:
                try:
                    job_id = arrived.get(timeout=min(WAKE_UP, looks.left()))
                except queue.Empty:
                    looks.passed()
                else:
                    yield from waiting.pop(job_id, ())
        finally:
            end()

    async def __aiter__(self) -> AsyncIterator[Handle[R]]:
        import asyncio

        arrived: asyncio.Queue[str | Exception] = asyncio.Queue()
        waiting = _by_id(self._handles)
        looks = self._looks(waiting)
        tell = from_threads(arrived.put_nowait)
        end = _subscribe(self._handles, tell, failed=tell)
        try:
            while waiting:
                found = await coming(arrived.get, looks) if arrived.empty() else arrived.get_nowait()
                if isinstance(found, Exception):
                    raise again(found)
                for handle in waiting.pop(found, ()):
                    yield handle
        finally:
            end()

    def _looks(self, waiting: Mapping[str, list[Handle[R]]]) -> Looks:
        def look() -> None:
            for client, handles in _by_client([handle for some in list(waiting.values()) for handle in some]):
                client.look(handles)

        def late() -> tuple[str, Handle[R]]:
            handle = next(iter(waiting.values()))[0]
            return f"{len(waiting):,} of {len(self._handles):,} jobs have not ended", handle

        return Looks(self._timeout, look, late, at_once=any(handle.keep is None for handle in self._handles))


class Gathered(Generic[R]):
    """The results of several jobs, in the order of their handles."""

    def __init__(self, handles: Sequence[Handle[R]]) -> None:
        self.handles = handles

    def result(self, timeout: Duration | None = None) -> list[R]:
        """All results. Raises as soon as one job has not succeeded, what its handle raises; or ResultTimeout."""
        values = {handle.id: handle.result() for handle in as_completed(self.handles, timeout=timeout)}
        return [values[handle.id] for handle in self.handles]

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._aresult().__await__()

    async def _aresult(self) -> list[R]:
        values = {handle.id: await handle async for handle in as_completed(self.handles)}
        return [values[handle.id] for handle in self.handles]


def as_completed(handles: Iterable[Handle[R]], *, timeout: Duration | None = None) -> AsCompleted[R]:
    """Gives each handle when its job has ended, however it ended: `for` or `async for`.

    Raises ResultTimeout when not all have ended within `timeout`, saying why the first of them has not.
    """
    return AsCompleted(handles, timeout)


def gather(*handles: Handle[R]) -> Gathered[R]:
    """The results of all: `gather(a, b).result(timeout=10)`, or `await gather(a, b)`."""
    return Gathered(handles)


def _subscribe(
    handles: Sequence[Handle[Any]], sink: Callable[[str], None], failed: Callable[[Exception], None] | None = None
) -> Callable[[], None]:
    ends = [client.subscribe(some, sink, failed) for client, some in _by_client(handles)]

    def end() -> None:
        for one in ends:
            one()

    return end


def _by_client(handles: Sequence[Handle[R]]) -> list[tuple[HandleClient, list[Handle[R]]]]:
    clients = {id(handle.client): handle.client for handle in handles}
    return [(client, [handle for handle in handles if handle.client is client]) for client in clients.values()]


def _by_id(handles: Iterable[Handle[R]]) -> dict[str, list[Handle[R]]]:
    found: dict[str, list[Handle[R]]] = {}
    for handle in handles:
        found.setdefault(handle.id, []).append(handle)
    return found
