"""A handle as HTML: what jobs say is text in it, whatever it is."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from longboat import Longboat, current
from longboat.testing import Harness

app = Longboat("memory://")
EVIL = "<script>alert(1)</script>\" onload='x' &amp;"
TAGS = {"div", "b", "code", "progress", "a"}


@app.task
def half() -> str:
    current().progress(1, 2, EVIL)
    return EVIL


@app.task
def fails() -> None:
    current().progress(3, text="so far")
    raise ValueError(EVIL)


class Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_shows_state_result_error_and_progress_and_nothing_of_them_is_html(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_PAGES", 'https://jobs.example/?"><script>')
    with Harness(app) as jobs:
        good, bad = half.using(id=f"{EVIL}/1").enqueue(), fails.enqueue()
        waits = Seen(good._repr_html_())
        jobs.kill(half)
        jobs.perform_jobs(raises=False)
        runs = Seen(good._repr_html_())
        jobs.clock.move("15s")
        jobs.perform_jobs(raises=False)
        ended, dead, unknown = (Seen(each._repr_html_()) for each in (good, bad, app.job("nobody")))
        with jobs.outage():
            away = Seen(good._repr_html_())
    assert "ready" in waits.text
    assert "running" in runs.text
    assert ("progress", {"value": "1", "max": "2"}) in runs.tags
    assert f"1 of 2 {EVIL}" in runs.text
    assert "succeeded" in ended.text
    assert repr(EVIL) in ended.text
    assert f"ValueError: {EVIL}" in dead.text
    assert "3 so far" in dead.text
    assert "no job" in unknown.text.lower()
    assert "outage" in away.text
    for seen in (waits, runs, ended, dead, unknown, away):
        assert {tag for tag, _ in seen.tags} <= TAGS
        ((_, link),) = [each for each in seen.tags if each[0] == "a"]
        assert link.keys() == {"href", "target"}
        assert str(link["href"]).startswith('https://jobs.example/?"><script>/jobs/')


def test_without_a_dashboard_it_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGBOAT_PAGES", "javascript:alert(1)")
    with Harness(app):
        seen = Seen(half.enqueue()._repr_html_())
    assert "longboat jobs show" in seen.text
    assert "a" not in {tag for tag, _ in seen.tags}
