"""QUERY on the command line: the search language, beside the options that say the same of lists of jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from longboat.cli.fail import USAGE, CommandFailed
from longboat.cli.group import Group, similar
from longboat.core.job import State
from longboat.core.patterns import same
from longboat.errors import ConfigError
from longboat.operate.search import Query, from_arguments, misspelt, restrict, within


class Listing(Group):
    """A group that lists when its first word names no command: the words are then a query, in ctx.args.

    A word that is nearly a command's name is refused, and the command suggested. After `--` every word belongs to the query.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, **{"invoke_without_command": True, "subcommand_metavar": "[QUERY]... | COMMAND [ARGS]...", **kwargs}
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = self.make_parser(ctx).parse_args(list(args))[1]
        if not rest or (rest[0] in self.commands and "--" not in args):
            return super().parse_args(ctx, args)
        if "--" not in args and (meant := similar(rest[0], self.commands)):
            what, text = f"no such command {rest[0]!r}; did you mean {meant!r}?", f"`{ctx.command_path} -- {rest[0]}`"
            raise CommandFailed(what, f"To search for the text {rest[0]!r}: {text}.", USAGE)
        ctx.allow_interspersed_args = True
        return click.Command.parse_args(self, ctx, args)


def fits(query: Query, texts: Collection[str], **named: Collection[str]) -> bool:
    """Whether a thing matches a query: by what its words mean for it, and by the texts that free text may be part of."""
    return all(
        not (pattern := getattr(query, word)) or any(same(pattern, value) for value in values)
        for word, values in named.items()
    ) and all(any(within(part, text) for text in texts) for part in query.texts)


@contextmanager
def usage() -> Iterator[None]:
    """A ConfigError about what was typed is wrong usage."""
    try:
        yield
    except ConfigError as error:
        raise click.UsageError(f"{str(error).removeprefix('search: ').removesuffix('.')}.") from None


def query_of(what: str, known: Collection[str], words: Sequence[str]) -> Query:
    """A query of something other than jobs, such as queues. Raises UsageError for any word that is not `known`."""
    with usage():
        return _told(restrict(from_arguments(words), known, what))


def _told(query: Query) -> Query:
    """The query; says on standard error what is probably meant by one that finds nothing."""
    if text := misspelt(query):
        click.echo(f"warning: {text}", err=True)
    return query


def query_of_jobs(
    words: Sequence[str], states: Sequence[State] = (), *, queue: str | None = None, task: str | None = None
) -> Query:
    """A query of jobs, narrowed to these states and to what --queue and --task say. Raises UsageError."""
    with usage():
        query = _told(from_arguments(words))
    for option, given in (("queue", queue), ("task", task)):
        said = getattr(query, option)
        if given and said not in ("", given):
            raise click.UsageError(f"--{option} {given} contradicts {option}:{said}: a job has only one.")
        if given:
            query = msgspec.structs.replace(query, **{option: given})
    if not states:
        return query
    both = tuple(state for state in states if not query.states or state in query.states)
    if not both:
        raise click.UsageError(f"state:{','.join(query.states)} finds nothing among {', '.join(states)} jobs.")
    return msgspec.structs.replace(query, states=both)
