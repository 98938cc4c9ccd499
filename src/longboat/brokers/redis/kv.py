"""RedisBoard: notes beside the jobs, in hashes by space."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.redis.server import Server, Value
from longboat.contract.kv import ENTRY_LIMIT, Entry
from longboat.errors import TooLarge

_BATCH = 1000


class RedisKV:
    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(keys), _BATCH):
            found += self._server.call("read_notes", _raw(namespace), *map(_raw, keys[start : start + _BATCH]))
        return found

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        if before == "":
            return found
        at, end = _raw(after), _raw(before or "")
        while len(found) < limit:
            flat, at = self._server.call("list_notes", _raw(namespace), at, end, limit - len(found))
            found += [(_text(key), value) for key, value in zip(flat[::2], flat[1::2], strict=True)]
            if not at:
                break
        return found

    def write(self, namespace: str, entries: Sequence[Entry]) -> None:
        self._write(namespace, "all", entries)

    def put_if_absent(self, namespace: str, entries: Sequence[Entry]) -> list[bool]:
        written = set(self._write(namespace, "new", entries))
        return [place in written for place in range(len(entries))]

    def compare_and_set(self, namespace: str, entry: Entry, *, old: bytes | None) -> bool:
        return bool(self._write(namespace, "old", [entry], _value(old)))

    def _write(self, namespace: str, how: str, entries: Sequence[Entry], *seen: Value) -> list[int]:
        values: list[Value] = []
        for entry in entries:
            if entry.value is not None and len(entry.value) > ENTRY_LIMIT:
                raise TooLarge(
                    f"note {entry.key!r} of {namespace!r} has {len(entry.value):,} bytes, the limit is {ENTRY_LIMIT:,}"
                )
            values += (_raw(entry.key), _value(entry.value), "" if entry.keep is None else repr(entry.keep))
        # Made again by itself after a lost answer, an addition or a swap could deny what it has done.
        written: list[int] = self._server.call("write_notes", _raw(namespace), how, *seen, *values, again=how == "all")
        return written


def _value(value: bytes | None) -> bytes:
    return b"" if value is None else b"v" + value


def _raw(text: str) -> bytes:
    """UTF-8 is in the order of code points."""
    return text.encode(errors="surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogatepass")
