"""`longboat result`: what became of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from longboat.cli.fail import DONE, FAILED, WAITED, CommandFailed
from longboat.cli.params import duration, json_option, url_option
from longboat.errors import ResultError

if TYPE_CHECKING:
    from longboat.contract.broker import Broker
    from longboat.core.views import JobView


@click.command()
@click.argument("id")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@click.option("--timeout", type=duration, metavar="TIME", help="Wait no longer than this. Default: for ever.")
@json_option
@url_option
def command(id: str, wait: bool, timeout: float | None, as_json: bool, url: str | None) -> int:
    """Print the result of the job ID: text as it is, anything else as JSON.

    With --json the job as a document, however it ended, with "state", "result" and "failures".

    \b
    longboat result 4d3b-1f --wait --timeout 30s

    Exit status: 0 succeeded, 1 dead, cancelled or unknown, 6 not ended (within the time).
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait.")
    from longboat.cli.address import opened
    from longboat.cli.show import as_json as to_json
    from longboat.cli.show import plain, written
    from longboat.cli.waiting import awaited
    from longboat.client.client import Client
    from longboat.tasks.handle import Handle

    with opened(url) as broker:
        view = _view(broker, id)
        if not view.state.ended and not wait:
            advice = f"Wait for it: `longboat result {id} --wait`."
            raise CommandFailed(f"job {id} has not ended: it is {view.state.value}", advice, WAITED)
        client = Client(broker)
        try:
            handle = Handle[object](client, id, view.task)
            value = awaited(lambda: handle.result(timeout))
            click.echo(to_json(plain(_view(broker, id))) if as_json else written(value))
        except ResultError:
            view = _view(broker, id)
            if not (as_json and view.state.ended):
                raise
            click.echo(to_json(plain(view)))
            return FAILED
        finally:
            client.close()
    return DONE


def _view(broker: Broker, id: str) -> JobView:
    from longboat.client.inbox import not_found

    view = broker.inspector.find([id])[0]
    if view is None:
        raise not_found(id)
    return view
