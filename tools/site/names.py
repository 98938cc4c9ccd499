"""Names of the package within the reference lead to where they are described."""

from __future__ import annotations

import re

import longboat

TOKEN = re.compile(
    r"(<(?:a|pre|h[1-6]|autoref)\b.*?</(?:a|pre|h[1-6]|autoref)>)|<code>([\w.]+)</code>|(<[^>]+>)|([^<]+)", re.S
)
"""What holds no link, a name in code, any other tag, and text."""
CLASSES = [name for name in longboat.__all__ if name[0].isupper() and isinstance(getattr(longboat, name), type)]
IN_TEXT = re.compile(rf"\b({'|'.join(name for name in CLASSES if issubclass(getattr(longboat, name), BaseException))})\b")


def linked(html: str) -> str:
    """Names in code and errors in the text become references; where nothing describes the name, it stays as it is."""
    return TOKEN.sub(_token, html)


def _token(found: re.Match[str]) -> str:
    code, text = found[2], found[4]
    if code:
        name = code if code.startswith("longboat.") else f"longboat.{code}" if code in CLASSES else ""
        return f'<autoref optional identifier="{name}">{found[0]}</autoref>' if name else found[0]
    if text:
        return IN_TEXT.sub(r'<autoref optional identifier="longboat.\1">\1</autoref>', text)
    return found[0]
