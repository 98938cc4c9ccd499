"""Calls that the server passes on to the store behind it as they are. Each is named once here, and typed by the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_type_hints

from longboat.brokers.manager.calls import Calls
from longboat.brokers.manager.wire import Verb
from longboat.contract.broker import Broker
from longboat.contract.inspector import Inspector
from longboat.contract.kv import KV
from longboat.contract.results import ResultStore
from longboat.contract.transfer import Transfer
from longboat.core.job import State
from longboat.core.views import Page
from longboat.errors import TooLarge

P = ParamSpec("P")
A = TypeVar("A")

PARTS: dict[str, str] = {"Inspector": "inspector", "KV": "kv", "ResultStore": "results", "Transfer": "transfer"}
"""Contract -> the broker's attribute that keeps it. The other contracts are kept by the broker itself."""


class Forwarded(Verb[A], Generic[P, A]):
    """A method of the contract. As an attribute of a client's class it asks the server, which calls the store's.

    Its last parameter is what is asked for: ids, or how many. If `in_parts`, the client asks for fewer ids at a time when an
    answer is TooLarge.
    """

    def __init__(self, method: Callable[Concatenate[Any, P], A], *, in_parts: bool = False) -> None:
        kinds = get_type_hints(method)
        answer = kinds.pop("return")
        super().__init__(method.__qualname__, tuple[tuple(kinds.values())], answer)  # type: ignore[misc]  # the kinds are known when it runs
        self._parameters = list(inspect.signature(method).parameters.values())[1:]
        self._in_parts = in_parts
        part, _, self._method = self.name.partition(".")
        self._part = PARTS.get(part)

    def __get__(self, client: Any, owner: type) -> Callable[P, A]:
        calls: Calls = client.calls

        def ask(*args: P.args, **kwargs: P.kwargs) -> A:
            values = [*args, *(kwargs.get(each.name, each.default) for each in self._parameters[len(args) :])]
            if not self._in_parts:
                return calls.call(self, *values)
            found: A = _in_halves(lambda ids: calls.call(self, *values[:-1], ids), values[-1])
            return found

        return ask

    def asks_for_several(self, arguments: Sequence[Any]) -> bool:
        """Whether the client can ask for fewer of what fits in no message."""
        if not arguments:
            return False
        last = arguments[-1]
        return (last if isinstance(last, int) else len(last) if self._in_parts else 0) > 1

    def pass_on(self, broker: Broker, arguments: Sequence[Any]) -> A:
        """At the server."""
        target = getattr(broker, self._part) if self._part else broker
        named = {
            each.name: value
            for each, value in zip(self._parameters, arguments, strict=True)
            if each.kind is each.KEYWORD_ONLY
        }
        answer: A = getattr(target, self._method)(*arguments[: len(arguments) - len(named)], **named)
        return answer


def _in_halves(ask: Callable[[Any], Any], ids: Any) -> Any:
    """What `ask` gives for these ids, asked for in parts if it is TooLarge. Raises TooLarge for a single id."""
    try:
        return ask(ids)
    except TooLarge:
        if len(ids) < 2:
            raise
    half = len(ids) // 2
    return _in_halves(ask, ids[:half]) + _in_halves(ask, ids[half:])


def _shrinking(ask: Callable[..., A], limit: int) -> tuple[A, int]:
    """What `ask` gives for the largest number up to `limit` for which it is not TooLarge, and this number."""
    while True:
        try:
            return ask(limit=limit), limit
        except TooLarge:
            if limit < 2:
                raise
            limit //= 2


class _Part:
    def __init__(self, calls: Calls) -> None:
        self.calls = calls


class ForwardingBroker(_Part):
    """What a broker does itself."""

    _put = Forwarded(Broker.put)
    evict = Forwarded(Broker.evict)


class ManagerInspector(_Part):
    """The inspector of the store behind the server."""

    counts = Forwarded(Inspector.counts)
    find = Forwarded(Inspector.find, in_parts=True)
    _jobs = Forwarded(Inspector.jobs)
    consumers = Forwarded(Inspector.consumers)
    cancel = Forwarded(Inspector.cancel)
    retry = Forwarded(Inspector.retry)
    purge = Forwarded(Inspector.purge)
    limits = Forwarded(Inspector.limits, in_parts=True)
    prune = Forwarded(Inspector.prune)

    def jobs(
        self, state: State, *, queue: str | None = None, task: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        """As the contract says; a page of very large jobs holds fewer than `limit`."""
        return _shrinking(partial(self._jobs, state, queue=queue, task=task, after=after), limit)[0]


class ManagerKV(_Part):
    """The KV of the store behind the server. One call writes one message: more values than fit in a frame raise TooLarge."""

    read = Forwarded(KV.read, in_parts=True)
    _entries = Forwarded(KV.entries)
    write = Forwarded(KV.write)
    put_if_absent = Forwarded(KV.put_if_absent)
    compare_and_set = Forwarded(KV.compare_and_set)

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        """As the contract says; entries that do not fit in one message come in several."""
        found: list[tuple[str, bytes]] = []
        at_once = limit
        while len(found) < limit:
            ask = partial(self._entries, namespace, after=after, before=before)
            part, at_once = _shrinking(ask, min(at_once, limit - len(found)))
            found += part
            if len(part) < at_once:
                break
            after = found[-1][0]
        return found


class ManagerTransfer(_Part):
    """Jobs on their way into, or out of, the store behind the server."""

    export_jobs = Forwarded(Transfer.export_jobs)
    unconfirmed = Forwarded(Transfer.unconfirmed)
    import_jobs = Forwarded(Transfer.import_jobs)
    confirm = Forwarded(Transfer.confirm)


class ForwardingResults(_Part):
    """Results of the store behind the server, looked up by id."""

    get = Forwarded(ResultStore.get, in_parts=True)
