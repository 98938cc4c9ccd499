"""What mkdocs calls while it builds the site; each does one thing, said in its own file."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from tools.site import commands, diagram, llms, menu, names, outside

ROOT = Path(__file__).parents[2]
BOOST = [("reference/", 3), ("tutorial/", 2), ("how-to/", 2), ("project/", 0.2), ("adr/", 0.3), ("guarantees", 0.4)]
"""How much more a word counts where these pages have it."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    outside.bring(files, config, ROOT)
    config.nav = menu.written_out(config.nav or [], files)
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    page.meta.setdefault(
        "search", {"boost": next((boost for place, boost in BOOST if page.file.src_uri.startswith(place)), 1)}
    )
    if menu.LIST in markdown:
        markdown = markdown.replace(menu.LIST, menu.listed(page.file.src_uri, files))
    if commands.MARK in markdown:
        markdown = markdown.replace(commands.MARK, commands.described())
    return outside.linked(diagram.tables(markdown), page.file.src_uri)


def on_page_content(html: str, *, page: Page, **_: object) -> str:
    html = html.replace("<th></th>", "<td></td>")  # a header without a word says nothing to who cannot see it
    return names.linked(html) if page.file.src_uri.startswith("reference/") else html


def on_post_page(output: str, **_: object) -> str:
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_nav(nav: Navigation, **_: object) -> Navigation:
    llms.begin(nav)
    return nav


def on_post_build(*, config: MkDocsConfig) -> None:
    llms.write(config)
