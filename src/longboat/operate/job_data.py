"""A job as plain data: what the command line and the dashboard's API write as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from longboat.core.views import JobView


def job_data(
    view: JobView, decoded: Callable[[bytes], tuple[Any, str]], clean: Callable[[Any], Any] = lambda value: value
) -> dict[str, Any]:
    """What JobView holds, with its arguments as `args` and its result decoded.

    `decoded` gives the value in some bytes and why they could not be decoded ("" if they could), which then stands under
    `undecodable`. Headers, messages and tracebacks go through `clean`.
    """
    found = msgspec.structs.asdict(view)
    del found["payload"], found["result"], found["failures"]
    found["state"], found["attempts"] = view.state.value, view.begun
    found["headers"] = clean(view.headers)
    if view.constraints is not None:
        limits = [msgspec.structs.asdict(limit) for limit in view.constraints.limits]
        found["constraints"] = {**msgspec.structs.asdict(view.constraints), "limits": limits}
    args, wrong = decoded(view.payload) if view.payload else (None, "")
    found["args"] = shown(args)
    if not view.payload:  # nothing but its state is known
        found["priority"] = None
    if wrong:
        found["undecodable"] = wrong
    found["result"] = None if view.result is None else decoded(view.result)[0]
    found["failures"] = [msgspec.structs.asdict(failure) for failure in view.failures]
    for failure in found["failures"]:
        failure.update(message=clean(failure["message"]), traceback=clean(failure["traceback"]))
    return found


def shown(args: Any) -> Any:
    """Decoded arguments without the empty list that only tells which of them were passed by position."""
    return {name: value for name, value in args.items() if name != "*" or value != []} if isinstance(args, dict) else args
