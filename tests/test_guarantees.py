"""The tables of what each broker keeps are what the code declares, in docs/index.md and docs/guarantees.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from longboat.brokers.rabbitmq import capabilities
from longboat.contract.capabilities import Capability
from longboat.testing.conformance import CLAUSES
from tests.rigs.harnesses import ADAPTERS
from tools import guarantees

ROOT = Path(__file__).parent.parent
PAGES = ("docs/index.md", "docs/guarantees.md")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_tells_what_the_code_declares(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text == guarantees.written(text), f"run: python -m tools.guarantees {' '.join(PAGES)}"


def test_every_broker_and_every_clause_is_told() -> None:
    assert {source.package for source in guarantees.BROKERS.values()} == {name.partition("+")[0] for name in ADAPTERS}
    told = [clause.name for clauses in guarantees.groups().values() for clause in clauses]
    assert sorted(told) == sorted(clause.name for clause in CLAUSES)


@pytest.mark.parametrize("broker", [broker for broker, gone in guarantees.missing().items() if gone])
def test_what_is_missing_is_told_with_its_reason(broker: str) -> None:
    gone = guarantees.missing()[broker]
    reasons = guarantees.reasons(guarantees.BROKERS[broker])
    assert sorted(name for names in reasons.values() for name in names) == sorted(gone)
    page = guarantees.whole().partition(f"## What {broker} does not keep\n")[2].partition("\n## ")[0]
    for name in gone:
        assert page.count(f"- `{name}`: ") == 1


def test_a_clause_missing_without_a_reason_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = guarantees.whole()
    monkeypatch.setattr(capabilities, "CAPABILITIES", capabilities.CAPABILITIES - {Capability.PARKING})
    with pytest.raises(LookupError, match="release_and_park_count_no_attempt"):
        guarantees.whole()
    monkeypatch.setattr(capabilities, "LACKING", capabilities.LACKING | {Capability.PARKING: "since I say so"})
    assert guarantees.whole() != before


def test_a_page_that_is_out_of_date_or_has_no_markers_is_noticed() -> None:
    page = "a\n<!-- guarantees: short -->\nas it was\n<!-- end of guarantees -->\nz\n"
    new = guarantees.written(page)
    assert "as it was" not in new
    assert new.startswith("a\n")
    assert new.endswith("\nz\n")
    assert guarantees.written(new) == new
    with pytest.raises(LookupError, match="no markers"):
        guarantees.written("a\nz\n")
