"""The fixture of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.fault import Yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A queue of its own, whose worker trees are all gone afterwards."""
    with Yard(tmp_path) as made:
        yield made
