"""Requests to screens and their answers, as plain data: screens know nothing of HTTP."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from longboat.operate.audit import By, How


class Role(enum.IntEnum):
    """What a person may do; each role includes those before it."""

    VIEWER = 1
    """Look."""
    OPERATOR = 2
    """Retry, cancel, pause, resume, enqueue, run schedules."""
    ADMIN = 3
    """Delete."""


class Person(msgspec.Struct, frozen=True):
    """Who makes the request."""

    name: str
    role: Role
    signed_in: bool = False
    """Whether by a cookie: then there is something to sign out of."""


class Ask(msgspec.Struct):
    """One request."""

    path: str
    """Within the dashboard, not encoded: "/jobs"."""
    root: str
    """The path at which the dashboard is mounted."""
    person: Person
    query: Mapping[str, str] = {}
    pairs: Sequence[tuple[str, str]] = ()
    """The query with every value of each name."""
    form: Mapping[str, list[str]] = {}
    """The fields of a form or a JSON object, each with its values."""
    place: Mapping[str, str] = {}
    """The variable parts of the path, such as the id in "/jobs/{id}"."""

    whole: bool = False
    """Whether the answer is held in memory until it is complete, as under WSGI."""

    def field(self, name: str, default: str = "") -> str:
        """The last value of a form's field, else of the query."""
        values = self.form.get(name)
        return values[-1] if values else self.query.get(name, default)

    def many(self, name: str) -> list[str]:
        """All values of a form's field, else of the query."""
        return list(self.form.get(name) or (value for key, value in self.pairs if key == name))

    @property
    def by(self) -> By:
        """Who asks, for the audit. The field "reason" says why, of whatever is asked."""
        how: How = "API" if self.path.startswith("/api/") else "page"
        return By(self.person.name, how, role=self.person.role.name.lower(), reason=self.field("reason").strip())

    def url(self, path: str, **query: object) -> str:
        """A link to a screen; parameters that are None or empty are left out."""
        kept = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return f"{self.root}{path}{'?' if kept else ''}{urlencode(kept)}"

    def here(self) -> str:
        """This page, as a path within the dashboard."""
        return f"{quote(self.path, safe='/')}{'?' if self.query else ''}{urlencode(self.pairs)}"


class Page(msgspec.Struct):
    """A page."""

    template: str
    context: dict[str, Any]
    status: int = 200
    live: bool = True
    """Whether it keeps itself up to date while somebody looks at it."""


class Goto(msgspec.Struct):
    """A redirect to another page, and a message to show there."""

    path: str
    message: str = ""


class Data(msgspec.Struct):
    """An answer for programs."""

    body: bytes
    kind: str = "application/json"
    status: int = 200
    file: str = ""
    """The name under which a browser saves it; empty: the browser shows it."""


class Refused(Exception):
    """The request cannot be fulfilled; the message tells people why."""

    def __init__(self, status: int, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.advice = advice


class Stream(msgspec.Struct):
    """An answer for programs that is made while it is sent."""

    parts: Iterable[bytes]
    kind: str
    file: str


Answer = Page | Goto | Data | Stream
Screen = Callable[[Any, Ask], Answer]
"""Called in a thread, with the site and the request."""


def as_json(value: object, status: int = 200) -> Data:
    return Data(msgspec.json.encode(value), status=status)


def local(path: str) -> str:
    """One of our own paths, to go back to; anything else becomes the first page."""
    fine = path.startswith("/") and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if fine else "/"
