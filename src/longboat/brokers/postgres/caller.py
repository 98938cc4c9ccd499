"""A caller's own connection, used as the store uses its own, whatever driver it is of."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from longboat.contract.caller import Caller
from longboat.errors import ConfigError

_PARAMETER = re.compile(r"%\((\w+)\)[sbt]")
_STYLES = {
    "pyformat": "%({name})s",
    "format": "%s",
    "named": ":{name}",
    "qmark": "?",
    "numeric": ":{n}",
    "numeric_dollar": "${n}",
}


class CallersConnection:
    """Rows are tuples and nothing is prepared, whatever the caller has set on the connection."""

    def __init__(self, given: Any) -> None:
        """Raises ConfigError, which says what may be given, for anything else."""
        self._caller = caller = Caller(given)
        if caller.vendor != "postgresql":
            raise ConfigError(
                f"session: the jobs are in PostgreSQL, and the connection leads to a {caller.vendor} database. Let both use "
                "one database, or give the app an outbox."
            )
        self._driver = caller.driver if isinstance(caller.driver, psycopg.Connection) else None
        """Without a detour, in the binary format, where it is of the driver that the store uses."""

    def query(self, text: bytes, values: Mapping[str, Any]) -> Any:
        if self._driver is not None:
            return psycopg.Cursor(self._driver, row_factory=tuple_row).execute(text, values, prepare=False, binary=True)
        sql, names = _in_style(text, self._caller.style)
        given: Any = values if self._caller.style in ("pyformat", "named") else tuple(values[name] for name in names)
        return self._caller.execute(sql, given)

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """What raises within it leaves nothing."""
        with self._caller.savepoint() if self._driver is None else self._driver.transaction():
            yield


@lru_cache(200)
def _in_style(text: bytes, style: str) -> tuple[str, list[str]]:
    """The statement with its parameters as this style writes them, and their names in order."""
    names: list[str] = []

    def parameter(found: re.Match[str]) -> str:
        names.append(found[1])
        return _STYLES[style].format(name=found[1], n=len(names))

    return _PARAMETER.sub(parameter, text.decode()), names
