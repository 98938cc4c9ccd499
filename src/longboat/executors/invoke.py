"""The replies that all executors make, and how failures are worded."""

from __future__ import annotations

import inspect
import os
from typing import Any

from longboat.core.bounds import MESSAGE_LIMIT
from longboat.core.job import Failure
from longboat.core.reasons import CANCELLED
from longboat.errors import TooLarge
from longboat.executors.contract import BAD_PAYLOAD, BAD_RESULT, KILLED, TIMEOUT, Call, CallEnd, Reply
from longboat.executors.traces import traced
from longboat.tasks.arguments import Misfit
from longboat.tasks.task import Task

TEXT_LIMIT = 32_000
"""Bytes of a failure's message, and of its traceback, at most."""

CANCELLED_ERROR = "asyncio.exceptions.CancelledError"
"""Where nobody asked the call to stop, it awaited something that was cancelled: a failure as any other."""

_OWN = (os.path.dirname(__file__), os.path.dirname(inspect.getfile(Task)))
"""The folders whose code stands around a task's function."""


def returned(task: Task[..., Any], value: Any) -> Reply:
    """The reply for a function that returned; RAISED if its result cannot be stored. Never raises."""
    try:
        result = task.result.encode(value)
    except BaseException as error:  # also whatever a model's own serialiser raises
        text = f"task {task.name!r} returned what cannot be stored as its annotation says: {_message(error)}"
        if inspect.iscoroutine(value):
            value.close()
            text = f"task {task.name!r} is a plain function that returned a coroutine: make it `async def` and await"
        return Reply(CallEnd.RAISED, failure=Failure(BAD_RESULT, clip(text)), again=again(task, error))
    if len(result) > MESSAGE_LIMIT:
        text = (
            f"the result of task {task.name!r} has {len(result):,} bytes, more than the limit of {MESSAGE_LIMIT:,}; "
            "write big data to a file or store, and return its path"
        )
        return Reply(CallEnd.RAISED, failure=Failure(BAD_RESULT, text), again=again(task, TooLarge()))
    return Reply(CallEnd.RETURNED, result)


def refused(error: BaseException) -> Reply:
    """The reply when the payload does not fit the task's parameters, or cannot be read."""
    return Reply(CallEnd.REFUSED, failure=Failure(BAD_PAYLOAD, clip(_message(error))), again=isinstance(error, Misfit))


def raised(task: Task[..., Any], error: BaseException) -> Reply:
    """The reply for a function that raised."""
    return Reply(CallEnd.RAISED, failure=failure(error), again=again(task, error))


def told(call: Call, reply: Reply) -> Reply:
    """The reply of a call that may have been asked to stop: if so, that is the reason for what it has raised since."""
    if call.stopping is None or reply.ending not in (CallEnd.RAISED, CallEnd.KILLED):
        return reply
    said = reply.failure
    if said is not None and reply.ending is CallEnd.KILLED:
        return stopped(call, f"; {said.message}")
    if said is None or said.type in (CANCELLED_ERROR, "longboat.errors.Stopped"):
        return stopped(call, trace=said.traceback if said else "")
    return stopped(call, f"; it ended with {said.type}: {said.message}", said.traceback)


def stopped(call: Call, more: str = "", trace: str = "") -> Reply:
    """The reply for a call that `stop` or `kill` ended; `more` is added to the reason."""
    why = call.stopping or CallEnd.CANCELLED
    if why is CallEnd.UNSTARTED:
        return Reply(why)
    began = call.started > 0
    if why is CallEnd.CANCELLED:
        text = f"cancelled {'while it ran' if began else 'before it ran'}"
        return Reply(why, failure=_asked(CANCELLED, text + more, trace))
    limit = call.settings.timeout
    text = f"longer than its timeout of {limit:g} s" if limit is not None else "longer than it may"
    text = f"took {text}" if began else "timed out before it ran"
    return Reply(why, failure=_asked(TIMEOUT, text + more, trace))


def _asked(kind: str, text: str, trace: str) -> Failure:
    """The failure of a call that was asked to stop. Its traceback ends with that, not with how the function was told."""
    return Failure(kind, clip(text), clip(f"{trace.rstrip()}\n\n{kind}: {text}\n") if trace else "")


def blocked(stack: str) -> Reply:
    """The reply for a call that blocked the event loop."""
    return Reply(CallEnd.TIMEOUT, failure=Failure(TIMEOUT, "blocked the event loop for too long, and was abandoned", stack))


def killed(call: Call, how: str) -> Reply:
    """The reply for a call whose process died while it ran."""
    return told(call, Reply(CallEnd.KILLED, failure=Failure(KILLED, how)))


def failure(error: BaseException) -> Failure:
    """The exception as text. Never raises, not even if the exception's own methods do."""
    return Failure(_name(type(error)), clip(_message(error)), clip(_trace(error)))


def again(task: Task[..., Any], error: BaseException) -> bool:
    """Whether what the function raised is worth another attempt."""
    kinds, leaves = task.settings.retry_on, [error]
    for each in leaves:
        if isinstance(each, kinds):
            continue
        if isinstance(each, BaseExceptionGroup):
            leaves += each.exceptions  # it is worth another attempt if each of these is
        elif not (Exception in kinds and _name(type(each)) == CANCELLED_ERROR):
            return False
    return True


def clip(text: str) -> str:
    """The text as UTF-8 can carry it; the middle of a text over TEXT_LIMIT is left out."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > TEXT_LIMIT:
        head, tail = data[: TEXT_LIMIT // 4], data[-TEXT_LIMIT * 5 // 8 :]
        data = head + f"\n… {len(data) - len(head) - len(tail):,} bytes left out …\n".encode() + tail
    return data.decode("utf-8", "ignore")


def _name(kind: type[BaseException]) -> str:
    module = str(kind.__module__).replace("__mp_main__", "__main__")  # as multiprocessing's children call it
    return clip(kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}")


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:
        return f"<str() of the exception raised {type(second).__name__}>"


def _trace(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and os.path.dirname(frames.tb_frame.f_code.co_filename) in _OWN:
        frames = frames.tb_next
    try:
        return traced(error, frames)
    except BaseException:  # an exception class with broken attributes, or no memory left
        return ""
