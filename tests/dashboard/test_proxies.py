"""The dashboard behind a proxy, set up as docs/dashboard.md says for nginx, Traefik, Caddy and an Ingress."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.rigs.dashboard import TOKEN, links, shop
from tests.rigs.dashboard_command import serving
from tests.rigs.proxy import proxied

pytestmark = pytest.mark.slow

ROOT = "/longboat"
WAYS: dict[str, tuple[str, Mapping[str, str], str]] = {
    "nginx, prefix kept": ("", {}, ""),
    "nginx, prefix removed": (ROOT, {}, ""),
    "Traefik, StripPrefix": (ROOT, {"X-Forwarded-Prefix": ROOT, "X-Forwarded-Proto": "http"}, ""),
    "Caddy, handle_path": (ROOT, {"X-Forwarded-Proto": "http"}, ""),
    "Ingress, Host rewritten": ("", {"X-Forwarded-Host": "{host}"}, "longboat.internal:5555"),
}
"""By name: what the proxy removes from paths, the headers that it adds, and the Host that it sends instead."""


@pytest.mark.parametrize("way", WAYS)
def test_pages_links_and_actions_work(tmp_path: Path, way: str) -> None:
    strip, headers, host = WAYS[way]
    with dashboard(tmp_path) as behind, proxied(behind, strip=strip, headers=(added := dict(headers)), host=host) as at:
        added.update({name: value.format(host=at.partition("://")[2]) for name, value in added.items()})
        with httpx.Client(base_url=at) as browser:
            assert browser.get(f"{ROOT}/").status_code == 401
            signed_in = browser.get(f"{ROOT}/jobs?token={TOKEN}")
            assert (signed_in.status_code, signed_in.headers["location"]) == (303, f"{ROOT}/jobs")
            assert f"Path={ROOT};" in signed_in.headers["set-cookie"]
            found = links(browser.get(f"{ROOT}/").text)
            assert f"{ROOT}/jobs" in found
            assert all(link.startswith(f"{ROOT}/") for link in found)
            for link in found:
                assert browser.get(link).status_code == 200, link
            form = {"kind": "queue", "name": "mail", "next": "/queues"}
            done = browser.post(f"{ROOT}/do/pause", data=form, headers={"origin": at})
            assert (done.status_code, done.headers["location"]) == (303, f"{ROOT}/queues")
            assert "paused" in browser.get(f"{ROOT}/queues").text
            foreign = browser.post(f"{ROOT}/do/pause", data=form, headers={"origin": "http://evil.example"})
            assert foreign.status_code == 403


def test_a_proxy_that_hides_the_host_is_told_what_to_send(tmp_path: Path) -> None:
    with (
        dashboard(tmp_path) as behind,
        proxied(behind, host="longboat.internal") as at,
        httpx.Client(base_url=at) as browser,
    ):
        browser.get(f"{ROOT}/?token={TOKEN}")
        refused = browser.post(f"{ROOT}/do/pause", data={"kind": "queue", "name": "mail"}, headers={"origin": at})
        assert refused.status_code == 403
        assert "X-Forwarded-Host" in refused.text


@pytest.mark.parametrize("prefix", ["//evil.example", "/\\evil.example", "evil", "/a\x7fb", "/a//b", "https://evil.example"])
def test_a_prefix_that_is_none_is_ignored(tmp_path: Path, prefix: str) -> None:
    with dashboard(tmp_path) as behind:
        answer = httpx.get(f"{behind}/?token={TOKEN}", headers={"x-forwarded-prefix": prefix})
        assert answer.headers["location"] == f"{ROOT}/"


def test_probes_need_no_token(tmp_path: Path) -> None:
    with dashboard(tmp_path) as behind:
        for path in ("/livez", "/readyz", f"{ROOT}/livez"):
            answer = httpx.get(f"{behind}{path}")
            assert (answer.status_code, answer.text) == (200, "ok\n"), path


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """The command, shown under ROOT; gives its own address."""
    with shop(f"sqlite:///{folder}/longboat.db") as app:
        app.named("shop.resize").enqueue(path="a.png", width=1)
    url = f"sqlite:///{folder}/longboat.db"
    with serving(folder, "--root", ROOT, url=url, LONGBOAT_DASHBOARD_TOKEN=TOKEN) as at:
        found = re.match(r"http://[^/]+", at)
        assert found is not None
        yield found[0]
