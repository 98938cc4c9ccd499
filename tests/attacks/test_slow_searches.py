"""A search through large arguments: no page and no command works on it for long, and each says where to go on."""

from __future__ import annotations

import html
import json
import re
import shlex
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from longboat import Longboat
from longboat.brokers.memory import MemoryBroker
from longboat.cli import jobs as cli
from longboat.cli.main import command
from longboat.connect import connect
from longboat.contract.broker import Broker
from longboat.core import codec
from longboat.core.job import Job
from longboat.dashboard import bulk, longboat_dashboard
from longboat.operate import search as searching
from longboat.operate.search import parse, search
from tests.rigs.dashboard import asking

HEAVY = 30
"""Jobs that take seconds to search."""
NEEDLE = "needle"
QUERY = "state:ready args:needle-*"


def fill(broker: Broker, jobs: int, size: int) -> None:
    """Jobs whose arguments take long to compare, the last of them the one that is looked for."""
    args = {"rows": [{"id": n, "name": "x" * 20} for n in range(size // 30)]}
    payload = codec.encode(args)
    broker.put([Job(1, f"job{n:03}", "t", payload, "q") for n in range(jobs)])
    broker.put([Job(1, "last", "t", codec.encode({**args, "text": f"{NEEDLE}-1"}), "q")])


@pytest.fixture(scope="module")
def heavy() -> MemoryBroker:
    broker = MemoryBroker()
    fill(broker, HEAVY, 900_000)
    return broker


@pytest.mark.slow
def test_one_search_holds_the_dashboard(heavy: MemoryBroker) -> None:
    app = Longboat("memory://")
    app.client.broker = heavy
    dashboard = longboat_dashboard(app, local_role="admin")
    path, pages = f"/jobs?q={QUERY.replace(' ', '+')}", list[str]()
    with asking(dashboard) as client:
        while True:
            begun = time.process_time()  # on a busy machine the same work takes longer
            pages.append(client.get(path).text)
            assert time.process_time() - begun < searching.SECONDS + 4, "one page of jobs more, on a slow machine"
            further = re.search(r'href="([^"]*)">Search further', pages[-1])
            if further is None:
                break
            assert re.search(r"Searched \d+ jobs so far; there are more", pages[-1])
            path = html.unescape(further[1])
        answer = client.get("/api/v1/jobs", params={"q": QUERY}).json()
    dashboard.close()
    assert len(pages) > 1
    assert "last" in pages[-1]
    assert answer["after"]
    assert 0 < answer["searched"] < HEAVY


def test_one_search_holds_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()
    fill(broker, 60, 100)
    assert bulk.dry_run(broker, parse("args:nowhere")) == bulk.Dry(0, True)
    monkeypatch.setattr(bulk, "DRY_SECONDS", 0.0)
    assert bulk.dry_run(broker, parse("args:nowhere")) == bulk.Dry(0, False)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_one_search_holds_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    url = f"sqlite:///{tmp_path}/longboat.db"
    with closing(connect(url)) as broker:
        fill(broker, 40, 3000)
    monkeypatch.setattr(searching, "SECONDS", 0.0)
    monkeypatch.setattr(cli, "SECONDS", 0.0)
    said, more, runs = "", list[str](), 0
    while runs == 0 or more:
        done = CliRunner().invoke(command, ["jobs", QUERY, *more, *form, "--url", url])
        assert done.exit_code == 0, done.output
        said, runs, more = said + done.stdout, runs + 1, []
        if form:
            ends = [json.loads(line) for line in done.stdout.splitlines()[-1:]]
            more = ["--after", ends[0]["after"]] if ends and "after" in ends[0] else []
        elif found := re.search(r"jobs have been searched so far; to see more, repeat it with (--after .*)", done.stderr):
            more = shlex.split(found[1])
    assert runs > 2
    assert said.count("last") == 1


def test_the_first_page_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SECONDS", 0.0)
    broker = MemoryBroker()
    fill(broker, 20, 100)
    first = search(broker, parse("args:nowhere"), limit=500)
    assert 0 < first.looked <= 10
    assert first.after is not None
