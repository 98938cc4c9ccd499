"""`longboat enqueue`: a job of a task, by name."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from longboat.cli import show
from longboat.cli.address import refuse_memory
from longboat.cli.fail import USAGE, WAITED, CommandFailed
from longboat.cli.params import duration, json_list, json_map, use
from longboat.cli.query import usage
from longboat.cli.waiting import result_of
from longboat.contract.capabilities import Capability
from longboat.core import codec
from longboat.errors import BadArguments, BrokerError, ResultTimeout, UnknownTask
from longboat.observe.history import workers

if TYPE_CHECKING:
    from longboat.app import Longboat
    from longboat.tasks.task import Task


@click.command()
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("--args", "list_", type=json_list, metavar="JSON", help="All positional arguments, as a JSON list.")
@click.option("--kwargs", type=json_map, default="{}", metavar="JSON", help="Arguments by name, as a JSON map.")
@click.option("--queue", metavar="NAME", help="The queue of the job. Default: the task's.")
@click.option("--priority", type=int, metavar="N", help="Jobs with a higher priority run first.")
@click.option("--delay", type=duration, metavar="TIME", help="Run it no earlier than this long from now.")
@click.option("--id", "id", metavar="ID", help="An id of your own. No second job is made with the same id.")
@click.option("--expires", type=duration, metavar="TIME", help="Cancel it if it has not started by then.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for the result and print it instead of the id. A terminal shows meanwhile how far the job is.",
)
@click.option("--timeout", type=duration, metavar="TIME", help="With --wait, wait no longer than this. Default: forever.")
@click.option("--url", metavar="URL", help="Enqueue to this broker, by the task's name alone, without the app's code.")
def command(
    task: str, args: tuple[str, ...], list_: list[Any] | None, kwargs: dict[str, Any], wait: bool, timeout: float | None,
    url: str | None, **options: Any,
) -> None:  # fmt: skip
    """Enqueue a job of TASK, and print the job's id once it is stored.

    Each of ARGS is read as JSON if possible, else as text: 5 is a number, x is text, '"5"' is text too. Write -- before
    arguments that begin with a dash.

    The app (see `longboat --help`) checks the arguments and supplies the queue and other defaults. If no app is found, and
    with --url, the task goes by name: with the settings that workers have told of it, such as its queue and limits. If none
    has, a warning says so. The worker checks the types of the arguments. If workers are alive and none serves the queue, a
    warning says so.

    \b
    longboat enqueue tasks.add 1 2
    longboat enqueue tasks.add -- -1 2
    longboat enqueue mail.send --kwargs '{"to": "a@b.c"}' --delay 1h
    longboat enqueue tasks.add 1 2 --wait --timeout 30s

    Exit status: 0 stored (with --wait: succeeded), 1 the job is dead or cancelled, 2 the arguments do not fit,
    3 the app cannot be imported, 4 the broker cannot be reached, 6 timed out (the job goes on).
    """
    if list_ is not None and args:
        raise click.UsageError("Give the positional arguments either one by one or by --args, not both.")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout requires --wait.")
    values = [_value(text) for text in args] if list_ is None else list_
    with app_for(url) as app:
        refuse_memory(app.url)
        chosen = _chosen(app, task, options)
        if list_ is None:
            _check_names(chosen, args)
        try:
            chosen.new(values, kwargs)  # the broker is not asked for what does not fit
            unserved = _unserved(app, chosen)
            job = chosen.enqueue(*values, **kwargs)
        except BadArguments as error:
            raise _refused(chosen, error, args) from error
        if unserved:
            click.echo(unserved, err=True)
        if not job.new:
            click.echo(f"A job {job.id} exists already; no second one was made.", err=True)
        if not wait:
            click.echo(job.id)
            return
        try:
            show.result(result_of(app.job(job.id), timeout))
        except ResultTimeout as error:
            if Capability.RESULTS in app.broker.capabilities:
                raise
            advice = "The job goes on, but this broker tells its result to this command alone: wait longer."
            raise CommandFailed(str(error), advice, WAITED) from error


def _unserved(app: Longboat, task: Task[..., Any]) -> str:
    """A warning that workers are alive, and none takes jobs of this queue: perhaps its name is misspelt."""
    from longboat.tasks.named import Named

    try:
        served = [record.queues for record in workers(app.broker.kv)]
        queue = (task.present() if isinstance(task, Named) else task).template.queue
    except BrokerError:  # the put says so, if it fails as well
        return ""
    if not served or not all(served) or any(queue in queues for queues in served):
        return ""
    names = ", ".join(sorted({name for queues in served for name in queues})[:10])
    return f"warning: no living worker serves queue {queue!r}, only {names}"


def _check_names(task: Task[..., Any], args: Sequence[str]) -> None:
    """Raises CommandFailed for name=value, which would be a text by position."""
    for text in args:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or name not in _parameters(task):
            continue
        named, there = {name: _value(value)}, [*map(_value, args)]
        try:
            task.arguments.known(codec.encode(named), holes=_parameters(task).keys() - named.keys())
        except BadArguments:
            named = {name: value}
        what = f"task {task.name!r}: {text!r} would be passed by position, as a text: arguments by name go into --kwargs"
        raise CommandFailed(
            what,
            f"Write --kwargs {_quoted(named)}. If you mean the text {text!r}: --args {_quoted(there)}.",
            USAGE,
        )


def _refused(task: Task[..., Any], error: BadArguments, args: Sequence[str]) -> BadArguments | CommandFailed:
    """The error, with how the argument is written that does not fit, if it was given by position."""
    found = re.search(r": argument '(\w+)", str(error))
    places = list(_parameters(task))
    if found is None or found[1] not in places or (place := places.index(found[1])) >= len(args):
        return error
    text, value = args[place], _value(args[place])
    if isinstance(value, str):
        how = f"{text} was read as text, because it is no JSON; in JSON, a list is written '[1, 2]', a map '{{\"a\": 1}}'."
    else:
        how = f"{text} was read as JSON, so it is {_KINDS[type(value)]}; for a text, quote it twice: {_quoted(text)}"
    return CommandFailed(str(error), how, USAGE)


def _parameters(task: Task[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Those of the task, as far as they are known here."""
    from longboat.tasks.named import Named

    known = task.present() if isinstance(task, Named) else task
    return {} if isinstance(known, Named) and known is task else known.arguments.parameters


def _quoted(value: Any) -> str:
    return shlex.quote(msgspec.json.encode(value).decode())


_KINDS = {int: "a number", float: "a number", bool: "a truth value", type(None): "null", list: "a list", dict: "a map"}


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return text


def app_for(url: str | None) -> Longboat:
    """The app that is found here; with a URL, or if there is none, one without tasks."""
    from longboat.app import Longboat
    from longboat.cli import locate

    use(url)
    found = None if url else locate.look()
    return Longboat() if found is None else found[0]


def _chosen(app: Longboat, name: str, options: dict[str, Any]) -> Task[..., Any]:
    tasks = app.registry.tasks
    if tasks and app.registry.get(name) is None and app.client.records.get(name) is None:
        known = ", ".join(sorted(tasks)[:10]) + (", …" if len(tasks) > 10 else "")
        raise UnknownTask(f"the app has no task {name!r}, and no worker has told of one; the app has {known}")
    with usage():
        return app.named(name).using(**{key: value for key, value in options.items() if value is not None})
