"""`longboat result`: what became of a job."""

from __future__ import annotations

import click

from longboat.cli import show
from longboat.cli.address import find_job, looked_at, opened
from longboat.cli.fail import DONE, FAILED, WAITED, CommandFailed
from longboat.cli.params import duration, outputs
from longboat.cli.waiting import result_of
from longboat.core.job import State
from longboat.errors import ResultError, Unsupported


@click.command()
@click.argument("id")
@click.option("--wait", is_flag=True, help="Wait until the job has ended. After two seconds, say why it has not.")
@click.option("--timeout", type=duration, metavar="TIME", help="With --wait, wait no longer than this. Default: forever.")
@outputs
def command(id: str, wait: bool, timeout: float | None, as_json: bool, url: str | None) -> int:
    """Print the result of the job ID: text as it is, anything else as JSON.

    With --json, the whole job as a document, however it ended, including "state", "result" and "failures".

    \b
    longboat result 4d3b-1f --wait --timeout 30s

    Exit status: 0 succeeded, 1 dead, cancelled or unknown, 6 not ended (within the time).
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout requires --wait.")
    from longboat.client.client import Client
    from longboat.tasks.handle import Handle

    with opened(url) as broker:
        view = find_job(broker, id)
        if not view.state.ended and not wait:
            advice = f"Wait for it: `longboat result {view.id} --wait`."
            raise CommandFailed(f"job {view.id} has not ended: it is {view.state.value}", advice, WAITED)
        client = Client(broker, address=looked_at())
        try:
            handle = Handle[object](client, view.id, view.task)
            value = result_of(handle, timeout)
            if as_json:
                click.echo(show.to_json(show.plain(find_job(broker, view.id))))
            else:
                show.result(value)
        except Unsupported:
            if view.state is not State.DEAD:
                raise
            if not as_json:
                last = f": {view.failures[-1].type}: {view.failures[-1].message}" if view.failures else ""
                advice = f"`longboat dead show {view.id}` tells more."
                raise CommandFailed(f"job {view.id} is dead{last}", advice, FAILED) from None
            click.echo(show.to_json(show.plain(view)))
            return FAILED
        except ResultError:
            view = find_job(broker, view.id)
            if not (as_json and view.state.ended):
                raise
            click.echo(show.to_json(show.plain(view)))
            return FAILED
        finally:
            client.close()
    return DONE
