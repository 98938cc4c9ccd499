"""Arguments and results as people read them: decoded as far as possible, secrets masked."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import msgspec

from longboat.core import codec
from longboat.core.patterns import wild
from longboat.errors import Undecodable
from longboat.operate.search import Query, parse
from longboat.tasks.template import checked_name

MASK = "••••••"
DEEPEST = 40
"""Levels of nesting that are shown."""
LONGEST = 100_000
"""Characters of one value that are shown."""
QUICK = 20_000
"""Bytes of arguments that are decoded for a line of a list, at most."""

_SECRET = re.compile(
    r"passw|passphrase|(?-i:(?<![A-Za-z])pass$|Pass$|PASS$)|pwd|secret|tokens?$|api[-_ ]?key|authori[sz]ation|cookie"
    r"|credential|bearer|(?<![a-z])(?:auth$|jwt)|session[-_ ]?id|(?:private|access|signing|encryption|secret|ssh)[-_ ]?key",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(://[^:/@\s]*:)[^/\s\"']+@")
_IN_QUERY = re.compile(
    r"([?&][\w.-]{0,50}(?:passw|pwd|secret|token|api[-_]?key|signature|credential)[\w.-]{0,50}=)[^&#\s\"']+", re.IGNORECASE
)
_IN_HEADER = re.compile(
    r"(\bauthorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:\w{1,20}\s)?|\bbearer\s(?=[^\s\d]{0,300}\d))[\w.~+/=-]{6,}",
    re.IGNORECASE,
)


def decoded(data: bytes) -> tuple[Any, str]:
    """The value in some bytes with its secrets masked, and why it could not be decoded ("" if it could)."""
    try:
        return masked(codec.decode(data)), ""
    except Undecodable as error:
        return data[:LONGEST].hex(" "), str(error)


def masked(value: Any, depth: int = 0) -> Any:
    """As JSON can carry it, without values whose names look like secrets, and without secrets in texts."""
    if depth > DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {
            _key(key): MASK if isinstance(key, str) and item is not None and _SECRET.search(key) else masked(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, depth + 1) for item in value]
    if isinstance(value, str):
        return masked_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    return repr(value) if isinstance(value, bytes) else str(value)


def unmasked(edited: Any, original: Any, depth: int = 0) -> Any:
    """The edited value, with the original's values wherever their masked or shortened form was left unchanged."""
    if edited == MASK or edited == masked(original, depth):
        return original
    if isinstance(edited, dict) and isinstance(original, dict):
        known = {_key(key): (key, item) for key, item in original.items()}
        found = {}
        for name, item in edited.items():
            key, old = known.get(name, (name, item))
            found[key] = unmasked(item, old, depth + 1) if name in known else item
        return found
    if isinstance(edited, list) and isinstance(original, list):
        rest = [_as_shown(item, original[-1]) if original else item for item in edited[len(original) :]]
        return [unmasked(item, old, depth + 1) for item, old in zip(edited, original, strict=False)] + rest
    return _as_shown(edited, original)


def _as_shown(edited: Any, original: Any) -> Any:
    """Bytes are shown as Python writes them, and understood so where there were bytes before."""
    if isinstance(original, bytes) and isinstance(edited, str) and edited[:2] in ("b'", 'b"'):
        try:
            value = ast.literal_eval(edited)
        except (ValueError, SyntaxError):
            return edited
        return value if isinstance(value, bytes) else edited
    return edited


def pretty(value: Any) -> str:
    """Several lines of JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters"


def one_line(payload: bytes, longest: int = 90) -> str:
    """Arguments as they would be written between the parentheses of a call."""
    if len(payload) > QUICK:
        return f"… {len(payload):,} bytes"
    if not payload:
        return ""  # they are not known
    value, why = decoded(payload)
    if why:
        return f"not decodable: {value[: longest // 2]}"
    if not isinstance(value, dict):
        return _short(json.dumps(value, ensure_ascii=False), longest)
    unnamed = value.pop("*", [])
    parts = [json.dumps(item, ensure_ascii=False) for item in (unnamed if isinstance(unnamed, list) else [unnamed])]
    parts += [f"{name}={json.dumps(item, ensure_ascii=False)}" for name, item in value.items()]
    return _short(", ".join(parts), longest)


def masked_text(text: str) -> str:
    """Without passwords and tokens in URLs and in Authorization headers."""
    if "://" in text:
        text = _IN_URL.sub(rf"\1{MASK}@", text)
    if "?" in text or "&" in text:
        text = _IN_QUERY.sub(rf"\1{MASK}", text)
    return _IN_HEADER.sub(rf"\1{MASK}", text)


def asked(text: str) -> Query:
    """A search typed into a page: it finds nothing by masked values. Raises ConfigError."""
    query = parse(text)
    for word, name in (("queue", query.queue), ("task", query.task)):
        if name and not wild(name):
            checked_name(name, f"search: {word}")  # no other name can have jobs, and brokers treat invalid names differently
    return msgspec.structs.replace(query, clean=masked)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _key(key: Any) -> str:
    return key if isinstance(key, str) else repr(key)
