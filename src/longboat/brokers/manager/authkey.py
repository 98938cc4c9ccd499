"""The key that a server and its clients share: from a file, or LONGBOAT_AUTHKEY."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from longboat.errors import ConfigError

VARIABLE = "LONGBOAT_AUTHKEY"
SAFE = 32
"""Bytes that a key must have to listen beyond loopback."""


def authkey(path: str | None) -> bytes:
    """The key in this file, without the newline at its end; with no file that of LONGBOAT_AUTHKEY. Raises ConfigError."""
    if path is None:
        key = os.environ.get(VARIABLE, "").encode(errors="surrogateescape")
        if not key:
            raise ConfigError(
                "a manager needs its authkey.\n"
                f"Name a file with it (--authkey-file of `longboat serve`, ?authkey_file= in a URL), or set {VARIABLE}."
            )
        return key
    try:
        key = Path(path).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(
            f"the authkey file {path} cannot be read: {error.strerror or error}\nMake one: `openssl rand -hex 32 > {path}`."
        ) from None
    if not key:
        raise ConfigError(f"the authkey file {path} is empty\nMake one: `openssl rand -hex 32 > {path}`.")
    return key


def open_to_others(path: str) -> bool:
    """Whether anybody but the file's owner may read or change it."""
    return bool(os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO))
