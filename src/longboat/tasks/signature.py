"""Signature: a call of a task that is not enqueued yet. Signatures make flows: chains, groups, chords, any graph."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from longboat.core.constraints import Slots
from longboat.core.job import Job, new_id
from longboat.errors import ConfigError
from longboat.tasks.arguments import Hole
from longboat.tasks.elsewhere import instead
from longboat.tasks.flow import Ends, Flow, NoJobs, end_ids
from longboat.tasks.limits import UniqueKey
from longboat.tasks.outgoing import Outgoing, Sender
from longboat.tasks.template import Template

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
R2 = TypeVar("R2")
T = TypeVar("T")
T2 = TypeVar("T2")
T3 = TypeVar("T3")


class Callee(Protocol):
    """What a signature needs of a task."""

    name: str

    @property
    def kind(self) -> Any: ...
    @property
    def template(self) -> Template: ...
    def flow_job(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], flow: str, after: list[str]
    ) -> tuple[Job, UniqueKey | None]: ...
    def sender(self) -> Sender: ...


ELSEWHERE = {
    "result": "enqueue().result(…)",
    "get": "enqueue().result(…)",
    "status": "enqueue().status()",
    "delay": "enqueue()",
    "apply_async": "enqueue()",
    "apply": "enqueue()",
    "set": "task.using(…).s(…)",
    "link": "then(…)",
    "on_error": "enqueue(), and JobFailed of its result(…)",
}
"""What a job has and a signature has not, and what other queues call a method -> ours."""


class Signature(Generic[R]):
    """A call to be made, or several. Nothing is stored before `enqueue`.

    One signature stands for one job, however often it is used within a flow.
    """

    @property
    def value(self) -> R:
        """Its result, as an argument of another call: `join.s(left.value, right.value)`.

        There is no value yet: only pass it on, alone or in a list.
        """
        return cast(R, self)

    @overload
    def then(
        self, task: Callable[Concatenate[R, Q], Coroutine[Any, Any, R2]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> Signature[R2]: ...
    @overload
    def then(self, task: Callable[Concatenate[R, Q], R2], /, *args: Q.args, **kwargs: Q.kwargs) -> Signature[R2]: ...
    def then(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A call of this task with the result of this one as its first argument, once that is there."""
        return Call(_callee(task), (self, *args), kwargs)

    def enqueue(self) -> Flow[R]:
        """Enqueue all these jobs, together or not at all. Raises as `task.enqueue` does; TooLarge, too, if their arguments
        are more than 32 MB together.
        """
        sender, outgoing, kinds = _planned(self)
        if sender is not None:
            sender.send(outgoing)
        return Flow(sender.flows if sender else NoJobs(), outgoing.flow, outgoing.ends, kinds)

    async def aenqueue(self) -> Flow[R]:
        """As `enqueue`, without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.enqueue)

    def needs(self) -> Iterator[Signature[Any]]:
        """The signatures whose results it takes."""
        raise NotImplementedError

    if not TYPE_CHECKING:  # for type checkers it is an error as well

        def __or__(self, other: object) -> None:
            raise ConfigError(
                f"{self!r} | {other!r}: calls are chained by .then, as in a.s(1).then(b), and side by side in group(…)"
            )


instead(Signature, ELSEWHERE, " is a call that is not enqueued yet, and")


class Call(Signature[R]):
    """One call of one task."""

    def __init__(self, task: Callee, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def needs(self) -> Iterator[Signature[Any]]:
        for value in (*self.args, *self.kwargs.values()):
            if isinstance(value, Signature):
                yield value
            elif isinstance(value, list | tuple):
                yield from (each for each in value if isinstance(each, Signature))

    def __repr__(self) -> str:
        return f"<{self.task.name}.s(…)>"


class Group(Signature[list[T]]):
    """Several side by side; the result is the list of theirs."""

    def __init__(self, members: Sequence[Signature[T]]) -> None:
        self.members = members

    def needs(self) -> Iterator[Signature[Any]]:
        yield from self.members


@overload
def group() -> Signature[list[Any]]: ...
@overload
def group(one: Signature[T], two: Signature[T2], /) -> Signature[list[T | T2]]: ...
@overload
def group(one: Signature[T], two: Signature[T2], three: Signature[T3], /) -> Signature[list[T | T2 | T3]]: ...
@overload
def group(*members: Signature[T]) -> Signature[list[T]]: ...
def group(*members: Signature[Any]) -> Signature[Any]:
    """Calls side by side. `group(…).then(task)` runs the task with the list of their results once all have succeeded.

    A group without members succeeds at once, with [].
    """
    return Group(members)


@overload
def chord(
    members: Sequence[Signature[T]],
    task: Callable[Concatenate[list[T], Q], Coroutine[Any, Any, R2]],
    /,
    *args: Q.args,
    **kwargs: Q.kwargs,
) -> Signature[R2]: ...
@overload
def chord(
    members: Sequence[Signature[T]], task: Callable[Concatenate[list[T], Q], R2], /, *args: Q.args, **kwargs: Q.kwargs
) -> Signature[R2]: ...
def chord(members: Sequence[Signature[Any]], task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Signature[Any]:
    """`group(*members).then(task, …)`."""
    return group(*members).then(task, *args, **kwargs)


def chain(first: Signature[Any], /, *tasks: Callable[..., Any]) -> Signature[Any]:
    """Each task takes the result of the one before: `chain(a.s(1), b, c)`. `a.s(1).then(b).then(c)` is the typed form."""
    for task in tasks:
        first = first.then(task)
    return first


def _callee(task: object) -> Callee:
    if isinstance(task, Call):
        name = task.task.name.rpartition(".")[2]
        raise ConfigError(
            f"then: write the task alone, {name} and not {name}.s(…): it takes the result of the call before, and its other "
            f"arguments follow, as in .then({name}, …)"
        )
    if not hasattr(task, "flow_job"):
        raise ConfigError(f"then: {task!r} is no task: pass what @app.task made, then its other arguments")
    return cast(Callee, task)


def _planned(last: Signature[Any]) -> tuple[Sender | None, Outgoing, list[Any]]:
    """The flow's jobs, parents first, on their way out, and what the results of its ends are converted to.

    Without jobs there is no sender.
    """
    flow_id = new_id()
    calls = _calls(last)
    ids: dict[int, str] = {}
    kinds: dict[str, Any] = {}
    keys: dict[str, UniqueKey] = {}
    jobs: list[Job] = []
    for call in calls:
        after: dict[str, int] = {}
        args = [_filled(value, ids, after, call) for value in call.args]
        kwargs = {name: _filled(value, ids, after, call) for name, value in call.kwargs.items()}
        job, key = call.task.flow_job(args, kwargs, flow_id, list(after))
        jobs.append(job)
        if key is not None:
            keys[job.id] = key
        ids[id(call)], kinds[job.id] = job.id, call.task.kind
    ends = _ends(last, ids)
    connection = next((given for call in calls if (given := call.task.template.connection) is not None), None)
    outgoing = Outgoing(jobs, flow=flow_id, ends=ends, keys=keys, connection=connection)
    return calls[-1].task.sender() if calls else None, outgoing, [kinds[each] for each in end_ids(ends)]


def _calls(last: Signature[Any]) -> list[Call[Any]]:
    """Each call once, after those whose results it needs. Without recursion: a chain may have a thousand steps."""
    calls: dict[int, Call[Any]] = {}
    seen: set[int] = set()
    stack: list[tuple[Signature[Any], bool]] = [(last, False)]
    while stack:
        signature, needs_are_done = stack.pop()
        if needs_are_done:
            if isinstance(signature, Call):
                calls.setdefault(id(signature), signature)
        elif id(signature) not in seen:
            seen.add(id(signature))
            stack.append((signature, True))
            stack.extend((each, False) for each in reversed(list(signature.needs())))
    return list(calls.values())


def _filled(value: Any, ids: dict[int, str], after: dict[str, int], call: Call[Any]) -> Any:
    """The argument, or a Hole for the results of other jobs."""
    if isinstance(value, Signature):
        return _hole(_slots(value, ids, after))
    if isinstance(value, list | tuple) and any(isinstance(each, Signature) for each in value):
        if not all(isinstance(each, Signature) for each in value):
            raise ConfigError(f"task {call.task.name!r}: a list cannot hold both results and plain values")
        return _hole([_slots(each, ids, after) for each in value])
    return value


def _hole(slots: Slots) -> Any:
    """A Hole, or the value itself where there are no results to come: empty groups."""
    return Hole(slots) if _has_jobs(slots) else slots


def _has_jobs(slots: Slots) -> bool:
    return isinstance(slots, int) or any(map(_has_jobs, slots))


def _slots(signature: Signature[Any], ids: dict[int, str], after: dict[str, int]) -> Slots:
    if isinstance(signature, Group):
        return [_slots(each, ids, after) for each in signature.members]
    return after.setdefault(ids[id(signature)], len(after))


def _ends(signature: Signature[Any], ids: dict[int, str]) -> Ends:
    if isinstance(signature, Group):
        return [_ends(each, ids) for each in signature.members]
    return ids[id(signature)]
