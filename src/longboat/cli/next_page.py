"""The next page of a list: a few characters that stand for the place where it goes on, kept by the broker for an hour."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from longboat.contract.kv import Entry
from longboat.errors import BrokerError

if TYPE_CHECKING:
    from longboat.contract.broker import Broker

NAMESPACE = "pages"
KEPT = 3600.0
"""Seconds that a place is kept."""


def shortened(broker: Broker, after: str) -> str:
    """What to type for it; the place itself where nothing can be kept."""
    name = os.urandom(3).hex()[:5]
    try:
        broker.kv.write(NAMESPACE, [Entry(name, after.encode(), KEPT)])
    except BrokerError:
        return after
    return name


def meant(broker: Broker, after: str | None) -> str | None:
    """The place that was typed. Raises UsageError for one that is not known any more."""
    if after is None or ":" in after:
        return after
    found = broker.kv.read(NAMESPACE, [after])[0]
    if found is None:
        raise click.UsageError(f"--after {after}: no such page, or it was shown over an hour ago; list the jobs again.")
    return found.decode(errors="replace")
