"""PostgreSQL's errors as Longboat's: one place that says what a caller can do about each."""

from __future__ import annotations

import psycopg

from longboat.errors import BrokerError, BrokerFull, BrokerUnavailable

AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: nothing was done, and the same may well succeed."""

_FULL = ("53100", "53200")
_LATER = ("08", "53", "55", "57", "40", "25006")
"""Classes: connection, resources, object in use, operator intervention, rolled back; and a server that only reads."""
_FORBIDDEN = ("28", "3D000", "42501")
_NOT_MADE = ("3F000", "42P01")


def translated(error: psycopg.Error, where: str) -> BrokerError:
    """The error to raise instead."""
    code = error.sqlstate or ""
    text = str(error).strip()
    if "startup parameter" in text:  # pgbouncer refuses those that it cannot pass on
        return BrokerUnavailable(f"{where} is behind pgbouncer, it seems: add ?pgbouncer=1 to the URL. It says: {text}")
    if code in _FULL:
        return BrokerFull(f"{where} has no room left: nothing was stored. Make room, then try again. It says: {text}")
    if code.startswith(_FORBIDDEN):
        return BrokerUnavailable(f"{where} refuses: {text}")
    if code in _NOT_MADE:
        return BrokerUnavailable(f"{where}: its tables are gone, or were never made (`longboat migrate`): {text}")
    if code == "57014":
        return BrokerUnavailable(f"{where} did not answer in time")
    if code.startswith(_LATER):
        return BrokerUnavailable(f"{where} cannot do this now: {text}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return BrokerUnavailable(f"{where} cannot be reached: {text}")
    return BrokerError(f"{where}: {text}")
