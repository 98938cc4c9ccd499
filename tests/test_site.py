"""The documentation site: it builds strictly, loads nothing from elsewhere, and offers all pages, also to programs."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import longboat
from longboat.cli.main import COMMANDS
from longboat.connect import BUILT_IN

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory)


def built(factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, where no network can be reached: once for all processes that tests run in."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place, half = shared / "site", shared / "site-half"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
            done = subprocess.run(
                [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", half],
                cwd=ROOT,
                env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout + done.stderr) == (0, "")
            half.rename(place)
    return place


def test_every_page_is_built(site: Path) -> None:
    pages = [path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md") if "0000" not in path.name]
    assert [
        page for page in pages if not (site / (page.parent if page.name == "index" else page) / "index.html").is_file()
    ] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"""<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)|url\(["']?((?:https?:)?//[^)"']+)"""
    )
    found = {
        (path.name, *found.groups())
        for path in [*site.rglob("*.html"), *site.rglob("*.css")]
        for found in loads.finditer(path.read_text())
        if 'rel="canonical"' not in found[0]
    }
    assert found == set()


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    described = set(documented(site))
    elsewhere = {"connect": "longboat.connect.connect", "events": "longboat.observe.events.Event"}
    kinds = {f"longboat.observe.events.{kind.__name__}" for kind in get_args(longboat.events.AnyEvent)}
    assert kinds <= described
    assert [name for name in longboat.__all__ if elsewhere.get(name, f"longboat.{name}") not in described] == []


def test_everything_in_the_reference_says_what_it_is(site: Path) -> None:
    found = documented(site)
    assert len(found) > 200
    assert sorted(name for name, text in found.items() if not text.strip()) == []


def test_every_command_is_in_the_reference(site: Path) -> None:
    text = (site / "reference/commands/index.html").read_text()
    assert [name for name in COMMANDS if f'id="longboat-{name}"' not in text] == []
    assert "<code>--max-memory</code>" in text


def test_every_url_and_option_is_in_the_reference() -> None:
    text = (DOCS / "reference/urls.md").read_text()
    assert [scheme for scheme in BUILT_IN if f"`{scheme}://" not in text] == []
    code = "".join(path.read_text() for path in (ROOT / "src/longboat/brokers").glob("*/url.py"))
    reads = re.findall(r'(?:urls\.\w+\(url, options|options\.pop\()(?:, )?"(\w+)"', code)
    described = {name for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ", text, re.M) for name in re.findall(r"\w+", row)}
    drivers = {"sentinel_username", "sentinel_password"}
    assert described - drivers == {*reads, "results", "ssl_ca", "ssl_cert", "ssl_key"}


def test_every_variable_is_in_the_reference() -> None:
    text = (DOCS / "reference/environment.md").read_text()
    code = "\n".join(path.read_text() for path in (ROOT / "src/longboat").rglob("*.py"))
    read = set(re.findall(r'os\.environ(?:\.get\(|\[)"(LONGBOAT_\w+)"', code))
    read |= set(re.findall(r'^\w+ = "(LONGBOAT_\w+)"', code, re.M))
    set_by_options = {"LONGBOAT_DASHBOARD_PORT"}
    assert read - set_by_options - set(re.findall(r"\b[A-Z_]{5,}\b", text)) == set()


def test_every_metric_is_in_the_reference() -> None:
    code = "\n".join((ROOT / "src/longboat" / name).read_text() for name in ("observe/metrics.py", "otel.py"))
    names = set(re.findall(r'"(longboat_[a-z_]+|messaging\.[a-z.]+(?:messages|duration))"', code))
    text = (DOCS / "reference/metrics.md").read_text()
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in text] == []


def documented(site: Path) -> dict[str, str]:
    """Each name that the reference describes, and the text that it has for it."""
    found: dict[str, str] = {}
    for path in (site / "reference").rglob("*.html"):
        text = path.read_text()
        for name, contents in DESCRIBED.findall(text):
            found[name] = re.sub(r"<[^>]+>", "", contents)
    return found


DESCRIBED = re.compile(
    r'id="(longboat[\w.]+)".*?<div class="doc doc-contents ?(?:first)?">(.*?)(?=<div class="doc doc-(?:obj|child)|</div>)',
    re.S,
)


def test_every_figure_on_the_page_about_speed_was_measured() -> None:
    measured = "\n".join(path.read_text() for path in (ROOT / "bench/results").glob("*.md"))
    text = (DOCS / "explanation/speed.md").read_text()
    figures = set(re.findall(r"(?<![\d/-])\d+,\d{3}\b|\b0\.\d{3}\b|\b\d+\.\d+ ms", text))
    assert len(figures) > 30
    assert [figure for figure in figures if figure not in measured and figure.removesuffix(" ms") not in measured] == []


def test_programs_that_read_find_every_page(site: Path) -> None:
    listed = re.findall(r"^- \[[^]]+\]\(([^)]+)\): \S", (site / "llms.txt").read_text(), re.M)
    assert [url for url in listed if not (site / url / "index.html").is_file()] == []
    whole = (site / "llms-full.txt").read_text()
    sources = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "0000" not in path.name]
    assert [name for name in sources if f"<!-- {name} -->" not in whole] == []
    assert len(listed) >= len(sources)
    assert "::: longboat.Longboat" not in whole
