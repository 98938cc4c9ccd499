"""QUERY on the command line: the search language, beside the options that say the same of lists of jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from longboat.core.job import State
    from longboat.operate.search import Query

F = TypeVar("F", bound=Callable[..., Any])


def query_argument(command: F) -> F:
    """Any number of words, as `words`."""
    return click.argument("words", nargs=-1, metavar="[QUERY]...")(command)


class Listing(click.Group):
    """A group that lists where none of its commands is named: what stands there then are a query's words, in ctx.args."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, **{"invoke_without_command": True, "subcommand_metavar": "[QUERY]... | COMMAND [ARGS]...", **kwargs}
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = self.make_parser(ctx).parse_args(list(args))[1]
        if not rest or rest[0] in self.commands:
            return super().parse_args(ctx, args)
        ctx.allow_interspersed_args = True
        return click.Command.parse_args(self, ctx, args)


def understood(words: Sequence[str]) -> Query:
    """The query. Raises UsageError, saying what is not understood."""
    from longboat.errors import ConfigError
    from longboat.operate.search import from_arguments

    try:
        return from_arguments(words)
    except ConfigError as error:
        raise click.UsageError(f"{_said(error)}.") from None


def filter_of(words: Sequence[str], known: Collection[str], of: str) -> Query:
    """A query of something else than jobs, which understands only these words. Raises UsageError, naming them."""
    from longboat.errors import ConfigError
    from longboat.operate.search import held

    try:
        return held(understood(words), known, of)
    except ConfigError as error:
        raise click.UsageError(f"{_said(error)}.") from None


def of_jobs(
    words: Sequence[str], states: Sequence[State] = (), *, queue: str | None = None, task: str | None = None
) -> Query:
    """A query of jobs, held to these states as well, and to what --queue and --task say. Raises UsageError."""
    import msgspec

    query = understood(words)
    for option, given in (("queue", queue), ("task", task)):
        said = getattr(query, option)
        if given and said not in ("", given):
            raise click.UsageError(f"--{option} {given} and {option}:{said}: a job has one.")
        if given:
            query = msgspec.structs.replace(query, **{option: given})
    if not states:
        return query
    both = tuple(state for state in states if not query.states or state in query.states)
    if not both:
        raise click.UsageError(f"state:{','.join(query.states)} finds nothing among those that are {', '.join(states)}.")
    return msgspec.structs.replace(query, states=both)


def meant(action: str, words: Sequence[str]) -> Query:
    """A query of jobs, held to states that a bulk action can do something with. Raises UsageError."""
    from longboat.errors import ConfigError
    from longboat.operate import bulk

    try:
        return bulk.meant(action, understood(words))
    except ConfigError as error:
        raise click.UsageError(f"{_said(error)}.") from None


def queue_name(name: str) -> str:
    """The name. Raises UsageError for one that no queue can have."""
    from longboat.errors import ConfigError
    from longboat.tasks.template import checked_name

    try:
        return checked_name(name, "queue")
    except ConfigError as error:
        raise click.UsageError(f"{error}.") from None


def _said(error: Exception) -> str:
    return str(error).removeprefix("search: ")
