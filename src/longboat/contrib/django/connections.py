"""What Django does around a request, around each job: database connections, caches, query log, translation, time zone."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.conf import settings
from django.core.cache import close_caches
from django.db import connections
from django.urls import set_script_prefix
from django.utils import timezone, translation

from longboat.tasks.current import Running
from longboat.tasks.middleware import Middleware


class AsInRequest(Middleware):
    """An attempt begins as a request does, and ends as one."""

    def around(self, call: Running) -> AbstractContextManager[Any]:  # noqa: ARG002  # as its protocol has it
        return _Attempt()


def begin() -> list[Any]:
    """Close what connections of this thread may not be used any longer; returns those that belong to somebody's transaction.

    Each one is tried before its first use in the job, whatever CONN_HEALTH_CHECKS says: an attempt that fails because the
    database was restarted since the last one costs more than a look.
    """
    kept = []
    for each in connections.all(initialized_only=True):
        each.queries_log.clear()
        if each.in_atomic_block:  # as in a TestCase, whose jobs run in its own thread
            kept.append(each)
        else:
            each.close_if_unusable_or_obsolete()
            each.health_check_enabled = True
    return kept


def end(kept: list[Any]) -> None:
    """Close what connections of this thread are not to outlive a job, and the caches'."""
    for each in connections.all(initialized_only=True):
        if each not in kept:
            each.close_if_unusable_or_obsolete()
    close_caches()


def _fresh() -> None:
    """No language, time zone or prefix of another job."""
    translation.deactivate()
    timezone.deactivate()
    if settings.FORCE_SCRIPT_NAME:  # else it is "/", as a job begins in a context of its own
        set_script_prefix(settings.FORCE_SCRIPT_NAME)


_new_context: Any = ThreadSensitiveContext
"""Its methods have no types."""


class _Attempt(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """Around a plain function in its thread, or around a coroutine, whose ORM runs in a thread that it has for itself."""

    def __enter__(self) -> None:
        _fresh()
        self._kept = begin()

    def __exit__(self, *_: object) -> None:
        end(self._kept)

    async def __aenter__(self) -> None:
        _fresh()
        self._context = _new_context()
        await self._context.__aenter__()
        self._lane = _idle.pop() if _idle else _Lane()
        SyncToAsync.context_to_thread_executor[self._context] = self._lane

    async def __aexit__(self, *raised: Any) -> None:
        SyncToAsync.context_to_thread_executor.pop(self._context, None)  # or it would be shut down, and waited for
        self._lane.leave()
        await self._context.__aexit__(*raised)


class _Lane(ThreadPoolExecutor):
    """A thread for what a coroutine job does by sync_to_async, such as the ORM's. One job has it at a time.

    Under ASGI, Django starts a thread for each request, and its connections end with it. A lane outlives its job, so that
    CONN_MAX_AGE means something for coroutines too. Its thread is started when it is first used.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="longboat-django")
        self._used = False
        self._kept: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._used:
            self._used = True
            super().submit(self._begin)
        return super().submit(fn, *args, **kwargs)

    def leave(self) -> None:
        """The job is over. The lane is idle again as soon as what it still runs has ended."""
        if self._used:
            self._used = False
            super().submit(self._end)
        else:
            _idle.append(self)

    def _begin(self) -> None:
        self._kept = begin()

    def _end(self) -> None:
        try:
            end(self._kept)
        finally:
            _idle.append(self)


_idle: list[_Lane] = []
