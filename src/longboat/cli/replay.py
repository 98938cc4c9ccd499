"""`longboat replay`: a job's exact call, in this process."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from longboat.cli import show
from longboat.cli.address import find_job, opened
from longboat.cli.fail import DONE, FAILED, USAGE, WAITED, CommandFailed, line
from longboat.cli.params import url_option, use
from longboat.core.text import each_line_escaped
from longboat.errors import Undecodable
from longboat.operate.job_data import shown

if TYPE_CHECKING:
    import asyncio

    from longboat.app import Longboat
    from longboat.contract.broker import Broker
    from longboat.core.constraints import Constraints, Slots
    from longboat.core.views import JobView
    from longboat.tasks.current import Running
    from longboat.tasks.depends import Provider, Resources
    from longboat.tasks.task import Task


@click.command()
@click.argument("id")
@click.argument("app", required=False)
@click.option("--pdb", "debug", is_flag=True, help="Open the debugger where the exception is raised.")
@url_option
def command(id: str, app: str | None, debug: bool, url: str | None) -> int:
    """Run the exact call of the job ID in this process, and print its result or its traceback.

    The job itself is not changed, whether it has ended or not. Its function gets the stored arguments, its dependencies,
    the app's lifespans and `longboat.current()`, as in a worker. Whatever the function does, it does again. There is no
    time limit, progress and log lines are not kept, and all steps run.

    \b
    longboat replay 4d3b-1f
    longboat replay 4d3b-1f --pdb shop/tasks.py:app

    Exit status: 0 it returned, 1 it raised, or the job or a parent's result is unknown, 2 the app does not have the task,
    or the arguments do not fit it, 3 the app cannot be imported, 4 the broker cannot be reached, 6 a parent has not ended.
    """
    from longboat.cli import locate
    from longboat.core.job import State

    use(url)
    found, spec = locate.find(app)
    os.environ["LONGBOAT_APP"] = spec  # for `opened`, and for programs that the job starts
    with opened(url) as broker:
        view = find_job(broker, id)
        if view.state is State.RUNNING and not view.payload:
            what = f"job {view.id} is running, and this broker tells its arguments to its worker alone"
            raise CommandFailed(what, "It can be replayed if it dies.", WAITED)
        task = _task(found, spec, view)
        payload = _payload(broker, view)
    args, kwargs = _arguments(task, view, payload)
    with found:
        return _replay(found, task, view, args, kwargs, debug=debug)


# --- the call


def _task(app: Longboat, spec: str, view: JobView) -> Task[..., Any]:
    if not view.task:
        advice = f"See its bytes: `longboat jobs show {quote(view.id)}`."
        raise CommandFailed(f"job {view.id} is stored as a message that cannot be decoded", advice)
    task = app.registry.get(view.task)
    if task is None:
        known = ", ".join(sorted(app.registry.tasks)[:10]) or "none"
        raise CommandFailed(
            f"the app {spec} has no task {view.task!r}; its tasks: {known}",
            f"Name the app that has it: `longboat replay {quote(view.id)} module:attribute`.",
            USAGE,
        )
    return task


def _payload(broker: Broker, view: JobView) -> bytes:
    """The arguments, including any results of parents. Raises CommandFailed."""
    constraints = view.constraints
    if constraints is None or not constraints.into:
        return view.payload
    from longboat.contract.broker import Lease
    from longboat.core.job import MESSAGE_VERSION, Job
    from longboat.worker.inputs import fill

    job = Job(MESSAGE_VERSION, view.id, view.task, view.payload, constraints=constraints)
    lease = Lease(job, max(1, view.begun), 0, inputs=_inputs(broker, view, constraints))
    try:
        fill(lease)
    except Undecodable as error:
        raise _misfit(view, error) from None
    return lease.job.payload


def _inputs(broker: Broker, view: JobView, constraints: Constraints) -> list[bytes]:
    """The parents' results, in the order of `after`; empty for those whose results are not needed."""
    from longboat.core.job import State

    wanted = {place: name for name, slots in constraints.into.items() for place in _places(slots)}
    ids = [constraints.after[place] for place in sorted(wanted)]
    results = dict(zip(sorted(wanted), broker.results.get(ids), strict=True))
    for place, result in results.items():
        if result is None or result.state is not State.SUCCEEDED:
            raise _no_result(broker, view, constraints.after[place], wanted[place])
    found = (results.get(place) for place in range(len(constraints.after)))
    return [b"" if result is None else result.value or b"" for result in found]


def _places(slots: Slots) -> Iterator[int]:
    if isinstance(slots, int):
        yield slots
    else:
        for each in slots:
            yield from _places(each)


def _no_result(broker: Broker, view: JobView, parent: str, parameter: str) -> CommandFailed:
    from longboat.core.job import State

    what = f"job {view.id} takes {parameter!r} from job {parent}"
    seen = broker.inspector.find([parent])[0]
    if seen is None or seen.state is State.SUCCEEDED:
        advice = "The task's keep_result says how long results are kept; enqueue the flow again."
        return CommandFailed(f"{what}, whose result is no longer kept", advice)
    if seen.state.ended:
        return CommandFailed(f"{what}, which is {seen.state.value}", f"Replay that one: `longboat replay {quote(parent)}`.")
    advice = f"Wait for it: `longboat result {quote(parent)} --wait`."
    return CommandFailed(f"{what}, which has not ended: it is {seen.state.value}", advice, WAITED)


def _arguments(task: Task[..., Any], view: JobView, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    try:
        found = task.arguments.decode(payload)
    except Exception as error:  # a model's validators are user code
        raise _misfit(view, error) from None
    click.echo(line(f"{view.task} {show.to_json(shown(show.decoded(payload)))}"), err=True)
    return found


def _misfit(view: JobView, error: Exception) -> CommandFailed:
    advice = f"See them: `longboat jobs show {quote(view.id)}`. No worker with this code can run it either."
    return CommandFailed(f"the stored arguments do not fit: {error}", advice, USAGE)


# --- running it


def _replay(
    app: Longboat, task: Task[..., Any], view: JobView, args: list[Any], kwargs: dict[str, Any], *, debug: bool
) -> int:
    import asyncio
    import logging

    from longboat.tasks.current import Running
    from longboat.tasks.depends import Resources

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    job = Running(view.id, view.task, view.queue, max(1, view.begun))
    opened = {str(place): each for place, each in enumerate(app.registry.lifespans)}
    resources = Resources()
    with asyncio.Runner() as runner:
        try:
            value = _call(runner, resources, opened, task, job, args, kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and Stopped fail the attempt too
            _show(error, debug=debug)
            return FAILED
        finally:
            runner.run(resources.aclose())
    return _print(task, value)


def _call(
    runner: asyncio.Runner,
    resources: Resources,
    opened: dict[str, Provider],
    task: Task[..., Any],
    job: Running,
    args: list[Any],
    kwargs: dict[str, Any],
) -> Any:
    """Coroutines run in the runner's loop; plain functions outside it, since they may run their own loop."""
    from longboat.tasks.current import running

    async def call() -> Any:
        running.set(job)
        return await task.fn(*args, **kwargs, **await resources.aget(task.needs))

    if opened:
        runner.run(resources.aget(opened))
    if task.settings.executor == "async":
        return runner.run(call())
    running.set(job)
    return task.fn(*args, **kwargs, **resources.get(task.needs))


def _show(error: BaseException, *, debug: bool) -> None:
    trace = _theirs(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, trace))
    click.echo(each_line_escaped(text.rstrip("\n")), err=True)
    if debug:
        import pdb

        sys.stderr.flush()
        pdb.post_mortem(trace)


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor asyncio's; all of it if there is none."""
    import asyncio

    ours = tuple(os.path.dirname(path) + os.sep for path in (os.path.dirname(__file__), asyncio.__file__))
    found = trace
    while found is not None and found.tb_frame.f_code.co_filename.startswith(ours):
        found = found.tb_next
    return found or trace


def _print(task: Task[..., Any], value: Any) -> int:
    """As others would read it: a value that cannot be stored would have failed the attempt."""
    from longboat.executors import invoke

    reply = invoke.returned(task, value)
    if reply.failure is not None:
        raise CommandFailed(reply.failure.message, "Return plain data, or what fits the return annotation.")
    show.result(show.decoded(reply.result))
    return DONE
