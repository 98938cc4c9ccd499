"""Files of the repository outside of docs/ that pages link to: they become pages of the site, in the folder project/.

A page of Markdown stays one, and what it links to comes along; of a program or a table of statements the text is shown.
Links in the pages name files as they are in the repository, so they work in an editor and where the code is hosted, too.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)")
"""Where a relative link leads, without its anchor."""
FENCE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
SHOWN_AS = {
    ".py": "python",
    ".sql": "sql",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".service": "ini",
    ".lua": "lua",
}
IMAGES = {".svg", ".png"}


def bring(files: Files, config: MkDocsConfig, root: Path) -> None:
    """Adds to the site every file that its pages lead to, and those that the menu names."""
    waiting = [file.src_uri for file in files.documentation_pages()] + [
        f"{PROJECT}{name}" for name in ("CHANGELOG.md", "CONTRIBUTING.md")
    ]
    waiting += [f"{PROJECT}{path.relative_to(root)}" for path in sorted((root / "bench/results").glob("*.md"))]
    while waiting:
        uri = waiting.pop()
        if files.get_file_from_path(uri) is None:
            made = _made(uri.removeprefix(PROJECT), config, root)
            if made is None:
                continue
            files.append(made)
        if uri.endswith(".md"):
            text = files.get_file_from_path(uri).content_string  # type: ignore[union-attr]  # it is there by now
            waiting += [
                to for to in (_place(link, uri) for link in LINK.findall(FENCE.sub("", text))) if to.startswith(PROJECT)
            ]


PROJECT = "project/"


def linked(markdown: str, uri: str) -> str:
    """The page with its links as the site has them."""

    def there(found: re.Match[str]) -> str:
        return posixpath.relpath(_place(found[1], uri), posixpath.dirname(uri) or ".")

    parts = re.split(f"({FENCE.pattern})", markdown, flags=FENCE.flags)
    return "".join(part if number % 2 else LINK.sub(there, part) for number, part in enumerate(parts))


def _place(link: str, uri: str) -> str:
    """The file of the site that a page's link leads to."""
    at = uri.removeprefix(PROJECT) if uri.startswith(PROJECT) else f"docs/{uri}"
    to = posixpath.normpath(posixpath.join(posixpath.dirname(at), link))
    if to == "README.md":
        return "index.md"
    if to in ("docs", "docs/adr"):
        to += "/index.md"
    inside = to.removeprefix("docs/")
    return inside if inside != to else _page(to)


def _page(path: str) -> str:
    """A file outside of docs/ as the site has it: a page, or an image as it is."""
    suffix = posixpath.splitext(path)[1]
    return PROJECT + (path if suffix in IMAGES or suffix == ".md" else f"{path}.md")


def _made(path: str, config: MkDocsConfig, root: Path) -> File | None:
    """None: there is no such file, and mkdocs will say which page leads to it."""
    suffix = posixpath.splitext(path)[1]
    if suffix in IMAGES or (root / path).is_file():
        return File.generated(config, PROJECT + path, abs_src_path=str(root / path))
    source = root / path.removesuffix(".md")
    if not source.is_file():
        return None
    kind = SHOWN_AS.get(source.suffix, "text")
    text = f"---\nsearch: {{exclude: true}}\n---\n\n# {path.removesuffix('.md')}\n\n````{kind}\n{source.read_text()}\n````\n"
    return File.generated(config, PROJECT + path, content=text)
