"""docs/security.md names every attack that is tried, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_the_page_names_each_attack_that_is_tried() -> None:
    named = re.findall(r"\((?:\.\./)(tests/[\w/]+\.py)\)", PAGE)
    attacks = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "attacks").glob("test_*.py")}
    assert attacks <= set(named)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_page_is_found() -> None:
    assert "docs/security.md" in (ROOT / "README.md").read_text()
