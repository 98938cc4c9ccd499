"""Group: a command with commands of its own, which says what a mistyped one was probably meant to be."""

from __future__ import annotations

from collections.abc import Collection

import click

from longboat.cli.fail import USAGE, CommandFailed


class Group(click.Group):
    """An unknown command is wrong usage, and the error names the one that is spelt like it."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not ctx.resilient_parsing:
            meant = self.meant(args[0], known)
            advice = f"Try `{ctx.command_path} --help`."
            raise CommandFailed(f"no such command {args[0]!r}{f'; did you mean {meant!r}?' if meant else ''}", advice, USAGE)
        return super().resolve_command(ctx, args)

    def meant(self, word: str, known: Collection[str]) -> str:
        """The command that somebody who wrote this word probably means; empty if there is none."""
        return similar(word, known)


def similar(word: str, known: Collection[str]) -> str:
    """The one that the word is probably a misspelling of; empty if there is none."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, 1, 0.7)), "")
