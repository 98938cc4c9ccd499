"""RedisKV: entries beside the jobs, in a hash for each namespace."""

from __future__ import annotations

from collections.abc import Sequence

from longboat.brokers.redis.server import Server, Value
from longboat.contract.base_kv import check_entries
from longboat.contract.base_pages import batches
from longboat.contract.kv import Entry

_BATCH = 1000


class RedisKV:
    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, namespace: str, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for part in batches(keys, _BATCH):
            found += self._server.call("read_entries", _raw(namespace), *map(_raw, part))
        return found

    def entries(
        self, namespace: str, *, after: str = "", before: str | None = None, limit: int = 1000
    ) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        if before == "":
            return found
        at, end = _raw(after), _raw(before or "")
        while len(found) < limit:
            flat, at = self._server.call("list_entries", _raw(namespace), at, end, limit - len(found))
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
        check_entries(namespace, entries)
        values: list[Value] = []
        for entry in entries:
            values += (_raw(entry.key), _value(entry.value), "" if entry.keep is None else repr(entry.keep))
        # Sent again by itself after a lost answer, "new" and "old" could deny what they have done.
        written: list[int] = self._server.call("write_entries", _raw(namespace), how, *seen, *values, again=how == "all")
        return written


def _value(value: bytes | None) -> bytes:
    return b"" if value is None else b"v" + value


def _raw(text: str) -> bytes:
    """UTF-8 is in the order of code points."""
    return text.encode(errors="surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogatepass")
