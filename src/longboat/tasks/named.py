"""Named: a task whose code is not here. It can be enqueued by its name, with the settings that workers publish."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Self, Unpack
from uuid import UUID

import msgspec

from longboat.core import codec
from longboat.core.job import Job
from longboat.core.retry import RetryPolicy
from longboat.errors import ConfigError
from longboat.tasks.arguments import UnknownArguments
from longboat.tasks.handle import Handle
from longboat.tasks.limits import UniqueKey
from longboat.tasks.outgoing import Sender
from longboat.tasks.record import Told, Unpublished
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Options, Template

log = logging.getLogger("longboat.client")

UNTOLD = (
    "no worker has told of this task, or this broker cannot keep what they tell. If the name is right, a worker that knows "
    "it will run the job, from the queue that you name or 'default', without the task's priority, limits and retention"
)
_SETTINGS = Settings("thread", RetryPolicy(0, 0.0), (), None)


_CONVERTED = {kind.__name__: kind for kind in (float, datetime, date, time, timedelta, Decimal, UUID)}
"""By annotation: types whose values make another key than what they are on the wire."""


class ToldArguments(UnknownArguments):
    """Those of the parameters that workers have told of. Values of any type pass."""

    def known(self, payload: bytes, holes: Collection[str] = ()) -> dict[str, Any]:
        given = {
            name.removeprefix("/"): value
            for name, value in codec.decode(payload, dict[str, Any]).items()
            if name not in holes
        }
        rest = given.pop("*", [])
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                found[name] = rest
            elif parameter.default is not parameter.empty and not isinstance(parameter.default, Unpublished):
                found[name] = parameter.default
        found = {name: value for name, value in found.items() if name not in holes} | given
        for name, parameter in self.parameters.items():
            kind = _CONVERTED.get(str(parameter.annotation).rpartition(".")[2])
            if kind is not None and name in found:
                with contextlib.suppress(msgspec.ValidationError):  # the worker will say so
                    found[name] = msgspec.convert(found[name], kind)
        return found


class Named(Task[..., Any]):
    """Its jobs are made as workers have told of it, or by default if none has."""

    def __init__(self, name: str, sender: Callable[[], Sender], told: Told | None = None) -> None:
        def elsewhere(*_: Any, **__: Any) -> Any:
            raise ConfigError(f"the code of task {name!r} is not here: it can be enqueued, not called")

        if told is not None:
            elsewhere.__signature__ = told.signature  # type: ignore[attr-defined]  # what inspect looks for
            elsewhere.__doc__ = told.about
        super().__init__(elsewhere, name, _SETTINGS, told.template if told else Template(), sender)
        self.arguments = ToldArguments(name, elsewhere)
        self._changes: tuple[Options, ...] = ()
        """What `using` was given."""

    def present(self) -> Task[..., Any]:
        """The task by what workers have told of it; this one if none has. Raises BrokerUnavailable."""
        told = self.sender().records.get(self.name)
        if told is None:
            return self
        made = _Told(self.name, self.sender, told)
        for change in self._changes:
            made = made.using(**change)
        return made

    def using(self, **options: Unpack[Options]) -> Self:
        made = super().using(**options)
        made._changes = (*self._changes, options)
        return made

    async def aenqueue(self, *args: Any, **kwargs: Any) -> Handle[Any]:
        await self._look()
        return await super().aenqueue(*args, **kwargs)

    async def aenqueue_many(self, calls: Iterable[Any], *, progress: bool = False) -> list[Handle[Any]]:
        await self._look()
        return await super().aenqueue_many(calls, progress=progress)

    async def _look(self) -> None:
        """Look up, beside the event loop, what the next call needs."""
        records = self.sender().records
        if not records.fresh(self.name):
            import asyncio

            await asyncio.to_thread(records.get, self.name)

    def new(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Job, UniqueKey | None]:
        made = self._maker()
        return made.new(args, kwargs) if made else super().new(args, kwargs)

    def flow_job(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], flow: str, after: list[str]
    ) -> tuple[Job, UniqueKey | None]:
        made = self._maker()
        return made.flow_job(args, kwargs, flow, after) if made else super().flow_job(args, kwargs, flow, after)

    def _batches(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]], keys: dict[str, UniqueKey]
    ) -> Iterator[list[Job]]:
        made = self._maker()
        return made._batches(calls, keys) if made else super()._batches(calls, keys)

    def _maker(self) -> Task[..., Any] | None:
        """Who makes the jobs, if it is not this one."""
        made = self.present()
        if made is not self:
            return made
        _say_untold(self.name)
        return None


class _Told(Named):
    """One that need not be looked up."""

    def present(self) -> Task[..., Any]:
        return self

    def _maker(self) -> None:
        return None


@lru_cache
def _say_untold(task: str) -> None:
    """Once for each task."""
    log.warning("%s: %s", task, UNTOLD)
