"""The fixture of the fault tests, as a pytest plugin that each of their files names: mypy bears one conftest.py only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_rig import Yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A queue of its own, whose worker trees are all gone afterwards."""
    with Yard(tmp_path) as made:
        yield made
