"""What mkdocs calls while it builds the site; each does one thing, said in its own file."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from tools.site import commands, llms, menu, names, outside

ROOT = Path(__file__).parents[2]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    outside.bring(files, config, ROOT)
    config.nav = menu.written_out(config.nav or [], files)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    if commands.MARK in markdown:
        markdown = markdown.replace(commands.MARK, commands.described())
    return outside.linked(markdown, page.file.src_uri)


def on_page_content(html: str, *, page: Page, **_: object) -> str:
    return names.linked(html) if page.file.src_uri.startswith("reference/") else html


def on_nav(nav: Navigation, **_: object) -> Navigation:
    llms.begin(nav)
    return nav


def on_post_build(*, config: MkDocsConfig) -> None:
    llms.write(config)
