"""The stream of a page: whole at first, then only what has changed; and how responses are compressed."""

from __future__ import annotations

import asyncio
import gzip
import math
import random
import re
from collections.abc import Iterator

import msgspec
import pytest
from starlette.testclient import TestClient

from longboat import Longboat
from longboat.dashboard import longboat_dashboard, stream
from longboat.dashboard.ask import Refused
from longboat.dashboard.packed import Packed
from longboat.dashboard.stream import Change, Shown, changes, events
from tests.rigs.dashboard import TOKEN, asking

STREAM = {"accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams end after their first look, and look again at once."""
    monkeypatch.setattr(stream, "ELSEWHERE", 0.0)
    monkeypatch.setattr(stream, "EACH", 0.0)


def pieces(text: str) -> list[str]:
    """As stream.js cuts it."""
    return re.findall(r"[^>\n,]*[>\n,]|[^>\n,]+", text)


def patched(text: str, made: list[Change]) -> str:
    old = pieces(text)
    return "".join(each if isinstance(each, str) else "".join(old[each[0] : each[0] + each[1]]) for each in made)


def told(lines: str) -> Iterator[tuple[str, object]]:
    for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", lines):
        yield name, msgspec.json.decode(data)


def test_changes_make_the_new_text_of_the_old_one() -> None:
    chance = random.Random(5)
    words = ["<tr>", "<td>", "a, b", "\n", "x" * 30, "</td>", "🚣", "", "1,", ">>"]
    for _ in range(300):
        old, new = ("".join(chance.choices(words, k=chance.randrange(60))) for _ in range(2))
        assert patched(old, changes(pieces(old), pieces(new))) == new


def test_what_has_changed_is_small(page: TestClient) -> None:
    text = page.get("/jobs").text
    for new in (text.replace(">ready<", ">running<", 1), text.replace("<tbody>", "<tbody>\n<tr><td>new</td></tr>", 1)):
        assert new != text
        made = changes(pieces(text), pieces(new))
        assert patched(text, made) == new
        assert len(msgspec.json.encode(made)) < 200


async def _all(looks: list[Shown | Refused], seen: str) -> list[tuple[str, object]]:
    left = list(looks[1:])

    async def look() -> Shown:
        found = left.pop(0)
        if isinstance(found, Refused):
            raise found
        return found

    async def gone() -> bool:
        return not left

    first = looks[0]
    assert isinstance(first, Shown)
    return [each async for lines in events(first, look, seen, math.inf, gone) for each in told(lines)]


def test_a_stream_sends_the_page_once_and_then_what_has_changed() -> None:
    row = "<tr><td>a row of the page, which stays</td>\n</tr>\n"
    shown = [Shown(f"{row * 20}<p>{n}</p>") for n in (0, 0, 1, 1, 2)]
    whole, *rest = asyncio.run(_all([*shown, shown[-1]], seen=shown[0].mark))
    assert whole == ("message", [shown[2].mark, shown[2].text]), "what the page showed already is not sent"
    assert [name for name, _ in rest] == ["message"]
    assert len(str(rest)) < 80


def test_a_stream_ends_when_nothing_changes_any_more_or_nobody_may_look() -> None:
    first = Shown("one")
    assert asyncio.run(_all([first, Shown("two", live=False), first], first.mark))[-1][0] == "end"
    down, out = Refused(503, "the broker is away"), Refused(401, "Sign in.")
    assert asyncio.run(_all([first, down, first, out, first], first.mark)) == [
        ("stale", "the broker is away"),
        ("stale", "Sign in."),
    ]


def test_a_page_says_what_it_shows_and_its_stream_begins_there(page: TestClient) -> None:
    first = page.get("/schedules").text
    mark = re.search(r'data-shown="([0-9a-f]{16})"', first)
    assert mark is not None
    answer = page.get("/schedules", params={"longboat-seen": mark[1]}, headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert list(told(answer.text)) == []
    ((name, data),) = told(page.get("/schedules?longboat-seen=another", headers=STREAM).text)
    assert (name, stream.shown(first).mark) == ("message", mark[1])
    assert isinstance(data, list)
    assert data == [mark[1], stream.shown(first).text]


def test_what_does_not_change_has_no_stream(page: TestClient) -> None:
    assert page.get("/jobs.csv", headers=STREAM).status_code == 406
    assert page.get("/jobs/unknown", headers=STREAM).status_code == 404


def test_a_stream_needs_a_role(bare: Longboat) -> None:
    dashboard = longboat_dashboard(bare, tokens={TOKEN: "viewer"})
    with asking(dashboard) as client:
        assert client.get("/jobs", headers=STREAM).status_code == 401
        assert client.get("/jobs", headers={**STREAM, "authorization": f"Bearer {TOKEN}"}).status_code == 200
    dashboard.close()


@pytest.mark.parametrize(
    ("headers", "packed"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"accept-encoding": "br, gzip;q=0"}, False),
        ({"accept-encoding": "gzip;q=0.5"}, True),
        ({"accept-encoding": "identity"}, False),
    ],
)
def test_what_no_other_site_asks_for_is_compressed(page: TestClient, headers: dict[str, str], packed: bool) -> None:
    plain = page.get("/jobs", headers={"accept-encoding": "identity"})
    for path in ("/jobs", "/jobs.csv", "/api/v1/jobs", "/static/style.css"):
        answer = page.get(path, headers=headers)
        assert (answer.headers.get("content-encoding") == "gzip") is packed, path
        assert "accept-encoding" in answer.headers.get("vary", "").lower() or not packed
    if packed:
        assert stream.shown(page.get("/jobs", headers=headers).text) == stream.shown(plain.text)


def test_small_answers_and_refusals_are_not_compressed(page: TestClient) -> None:
    for path in ("/livez", "/jobs/unknown"):
        assert "content-encoding" not in page.get(path).headers


def test_each_part_of_a_stream_can_be_read_at_once() -> None:
    sent: list[bytes] = []

    async def parts(_: object, __: object, send: object) -> None:
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"first", b"second"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message.get("body", b""))

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    asyncio.run(Packed(parts)({"type": "http", "headers": [(b"accept-encoding", b"gzip")]}, receive, send))
    import zlib

    reading = zlib.decompressobj(wbits=31)
    assert [reading.decompress(part) for part in sent[1:]] == [b"first", b"second", b""]
    assert gzip.decompress(b"".join(sent)) == b"firstsecond"
