"""Every command and option of `longboat` as Markdown, made from the commands: what `{{ commands }}` on a page stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

import click

from longboat.cli.main import command

MARK = "{{ commands }}"


def described() -> str:
    return "\n".join(_command(command, click.Context(command, info_name="longboat")))


def _command(this: click.Command, context: click.Context) -> Iterator[str]:
    yield f"{'##' if context.parent is None or context.parent.parent is None else '###'} {context.command_path}\n"
    yield from _help(this.help or "")
    yield f"```text\n{context.command_path} {' '.join(this.collect_usage_pieces(context))}\n```\n"
    options = [param for param in this.params if isinstance(param, click.Option) and not param.hidden]
    if rows := [_row(each, context) for each in options if each.name != "help"]:
        yield "| option | means | default |\n|---|---|---|"
        yield from rows
        yield ""
    if isinstance(this, click.Group):
        for name in this.list_commands(context):
            inner = this.get_command(context, name)
            if inner is not None:
                yield from _command(inner, click.Context(inner, context, name))


def _help(text: str) -> Iterator[str]:
    """As it was written: what click is told not to wrap stays as it is."""
    for paragraph in re.split(r"\n\s*\n", text.replace("\f", "")):
        wrapped = "\b" not in paragraph
        lines = dedent(paragraph.replace("\b", "")).strip("\n")
        if lines.strip():
            yield f"{' '.join(lines.split())}\n" if wrapped else f"```text\n{lines}\n```\n"


def _row(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in sorted([*option.opts, *option.secondary_opts], key=len))
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    default = option.show_default if isinstance(option.show_default, str) else _default(option)
    return f"| {names}{_cell(value)} | {_cell(option.help or '')} | {_cell(default)} |"


def _default(option: click.Option) -> str:
    value = option.default
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value) if plain and value != "" else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
