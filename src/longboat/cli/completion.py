"""`longboat completion`: a script that makes a shell complete our commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL: bash, zsh or fish.

    \b
    longboat completion bash >> ~/.bashrc
    longboat completion zsh >> ~/.zshrc
    longboat completion fish > ~/.config/fish/completions/longboat.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "longboat", "_LONGBOAT_COMPLETE").source())
