"""RedisBoard: notes beside the jobs, in hashes by space."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.redis.server import Server, Value
from longboat.contract.kv import NOTE_LIMIT, Note
from longboat.errors import TooLarge

_BATCH = 1000


class RedisBoard:
    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, space: str, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(keys), _BATCH):
            found += self._server.call("read_notes", _raw(space), *map(_raw, keys[start : start + _BATCH]))
        return found

    def notes(self, space: str, *, after: str = "", before: str | None = None, limit: int = 1000) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        if before == "":
            return found
        at, end = _raw(after), _raw(before or "")
        while len(found) < limit:
            flat, at = self._server.call("list_notes", _raw(space), at, end, limit - len(found))
            found += [(_text(key), value) for key, value in zip(flat[::2], flat[1::2], strict=True)]
            if not at:
                break
        return found

    def write(self, space: str, notes: Sequence[Note]) -> None:
        self._write(space, "all", notes)

    def add(self, space: str, notes: Sequence[Note]) -> list[bool]:
        written = set(self._write(space, "new", notes))
        return [place in written for place in range(len(notes))]

    def swap(self, space: str, note: Note, *, old: bytes | None) -> bool:
        return bool(self._write(space, "old", [note], _value(old)))

    def _write(self, space: str, how: str, notes: Sequence[Note], *seen: Value) -> list[int]:
        values: list[Value] = []
        for note in notes:
            if note.value is not None and len(note.value) > NOTE_LIMIT:
                raise TooLarge(f"note {note.key!r} of {space!r} has {len(note.value):,} bytes, the limit is {NOTE_LIMIT:,}")
            values += (_raw(note.key), _value(note.value), "" if note.keep is None else repr(note.keep))
        # Made again by itself after a lost answer, an addition or a swap could deny what it has done.
        written: list[int] = self._server.call("write_notes", _raw(space), how, *seen, *values, again=how == "all")
        return written


def _value(value: bytes | None) -> bytes:
    return b"" if value is None else b"v" + value


def _raw(text: str) -> bytes:
    """UTF-8 is in the order of code points."""
    return text.encode(errors="surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogatepass")
