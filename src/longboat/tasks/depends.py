"""Dependencies: what the worker, not the caller, gives a task's function. Pools, clients and settings, opened once."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from longboat.errors import ConfigError
from longboat.tasks.kinds import Missing, hints, signature_of

if TYPE_CHECKING:
    import asyncio

Provider = Callable[[], Any]
"""A function, coroutine function, generator or async generator without parameters. The value is what it returns or yields.
What follows the yield runs when the worker ends."""


class Dependency:
    """Marks a parameter that the worker fills, as its default or within Annotated."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider


def Depends(provider: Provider) -> Any:  # noqa: N802  # known by this name from web frameworks
    """The default of a parameter that the worker fills: `def save(row: Row, pool: Pool = Depends(open_pool))`.

    Within `Annotated[Pool, Depends(open_pool)]` it does the same. Give such a parameter a default too, such as
    `= Depends(open_pool)`: without one, type checkers ask every caller for it.

    Each provider is opened once in each worker process (and each child process), at the first job that needs it, and
    closed when that process ends. Only `async def` tasks can have coroutine functions and async generators.
    """
    return Dependency(provider)


def needs_of(fn: Callable[..., Any], *, is_async: bool) -> dict[str, Provider]:
    """The providers by parameter. Raises ConfigError for a provider that this function cannot have."""
    needs: dict[str, Provider] = {}
    annotations = hints(fn)
    for name, parameter in signature_of(fn).parameters.items():
        annotation = annotations.get(name)
        if isinstance(annotation, Missing) and "Depends(" in str(parameter.annotation):
            raise ConfigError(
                f"{fn.__qualname__}: the annotation of {name!r} cannot be evaluated here ({annotation.why}); "
                f"write {name} = Depends(…) instead"
            )
        for mark in (parameter.default, *getattr(annotation, "__metadata__", ())):
            if isinstance(mark, Dependency):
                needs[name] = mark.provider
    for name, provider in needs.items():
        if not callable(provider):
            raise ConfigError(f"{fn.__qualname__}: Depends of {name!r} needs a function")
        if not is_async and (inspect.iscoroutinefunction(provider) or inspect.isasyncgenfunction(provider)):
            raise ConfigError(f"{fn.__qualname__} is a plain function: the provider of {name!r} must not be async")
    return needs


class Resources:
    """What this process has opened. Call `get` from any thread, `aget` on one event loop only."""

    def __init__(self) -> None:
        self._values: dict[Provider, Any] = {}
        self._stack = contextlib.ExitStack()
        self._async_stack = contextlib.AsyncExitStack()
        self._lock = threading.Lock()
        self._async_lock: asyncio.Lock | None = None

    def get(self, needs: Mapping[str, Provider]) -> dict[str, Any]:
        """The values by parameter. Raises what a provider raises."""
        with self._lock:
            for provider in needs.values():
                if provider not in self._values:
                    self._values[provider] = self._opened(provider)
        return {name: self._values[provider] for name, provider in needs.items()}

    def _opened(self, provider: Provider) -> Any:
        if inspect.isgeneratorfunction(provider):
            return self._stack.enter_context(contextlib.contextmanager(provider)())
        return provider()

    async def aget(self, needs: Mapping[str, Provider]) -> dict[str, Any]:
        """As `get`, with async providers too."""
        if self._async_lock is None:
            import asyncio

            self._async_lock = asyncio.Lock()
        async with self._async_lock:
            for provider in needs.values():
                if provider in self._values:
                    continue
                if inspect.isasyncgenfunction(provider):
                    opened = contextlib.asynccontextmanager(provider)()
                    self._values[provider] = await self._async_stack.enter_async_context(opened)
                elif inspect.iscoroutinefunction(provider):
                    self._values[provider] = await provider()
                else:
                    self.get({"": provider})
        return {name: self._values[provider] for name, provider in needs.items()}

    def close(self) -> None:
        """Close what `get` has opened, the newest first."""
        self._values.clear()
        self._stack.close()

    async def aclose(self) -> None:
        await self._async_stack.aclose()
        self.close()
