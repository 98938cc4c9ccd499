"""llms.txt, a list of the pages for programs that read, and llms-full.txt, all their text in one file."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

_nav: list[Navigation] = []


def begin(nav: Navigation) -> None:
    _nav[:] = [nav]


def write(config: MkDocsConfig) -> None:
    site = Path(config.site_dir)
    (site / "llms.txt").write_text(listed(_nav[0], config))
    pages = [page for page in _nav[0].pages if page.markdown]
    (site / "llms-full.txt").write_text("\n\n".join(f"<!-- {page.file.src_uri} -->\n\n{text(page)}" for page in pages))


def text(page: Page) -> str:
    """The page as it was written; where docstrings are filled in, its words."""
    if not re.search("^::: ", page.markdown or "", re.M):
        return page.markdown or ""
    html = re.sub(r"<h([1-6])\b", lambda found: "#" * int(found[1]) + " <h", page.content or "")
    plain = unescape(re.sub(r"<[^>]+>", "", html)).replace("¶", "")
    headed = re.sub(r"^(#+)\s+", r"\1 ", re.sub(r"^[ \t]+", "", plain, flags=re.M), flags=re.M)
    return re.sub(r"\n\n+", "\n\n", headed).strip()


def listed(nav: Navigation, config: MkDocsConfig) -> str:
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for item in nav.items:
        lines += ["", f"## {item.title}", ""]
        lines += [_line(page) for page in (_pages(item) if isinstance(item, Section) else [item]) if isinstance(page, Page)]
    return "\n".join(lines) + "\n"


def _pages(section: Section) -> list[Page]:
    found: list[Page] = []
    for child in section.children:
        found += _pages(child) if isinstance(child, Section) else [child] if isinstance(child, Page) else []
    return found


def _line(page: Page) -> str:
    return f"- [{page.title}]({page.url or './'}): {summary(page.markdown or '')}"


def summary(markdown: str) -> str:
    """The first sentence of a page's first paragraph, without its marks."""
    for paragraph in re.split(r"\n\s*\n", re.sub(r"^```.*?^```$", "", markdown, flags=re.M | re.S)):
        text = " ".join(paragraph.split())
        if text and text[0] not in "#<|-!:>{" and not text.startswith(("Status:", "Made by")):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", lambda found: found[1] or "", text)
            return re.split(r"(?<=\.) ", plain)[0].rstrip(":")
    return ""
