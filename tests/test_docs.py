"""Every example in the documentation runs as it stands there.

Of each page, in order and in one temporary directory: a ```python block runs in a fresh process (one that begins with a
file's name in a comment, such as `# tasks.py`, is written to that file first, for what follows, and is not run where a
command below runs it; a ```toml block is written too; after `# settings.py` the page is a Django project's); in a ```console
block the lines after `$ ` are run by the shell, and where the block shows output the real one must match it (`…` stands for
anything). A command that ends in `&` runs in the background to the page's end, and `pip install` installs for the page
alone. A Redis server at localhost:6379, or RabbitMQ at localhost:5672, is one of the page's own; where none can be started,
the page is run up to there. What cannot be run says why, right above it: `<!-- not run: reason -->`. What is a file for what
follows, and cannot be run by itself: `<!-- only written: reason -->`.
The README of an example is run in a copy of its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from longboat.core import codec
from longboat.core.job import Job, State
from tests.rigs.servers import rabbitmq, redis
from tests.rigs.servers.process import HOST, ServerProcess

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *EXAMPLES]

FENCE = re.compile(
    r"(?:<!-- (?:not run:(?P<reason>[^>]*)|only written:(?P<written>[^>]*))-->\s*\n)?"
    r"^```(?P<kind>python|console|toml)\n(?P<body>.*?)^```$",
    re.M | re.S,
)
FILE_NAME = re.compile(r"# (?P<name>[\w/]+\.(py|toml))\n")
SERVERS: dict[str, tuple[Callable[[], str | None], Callable[[Path], ServerProcess]]] = {
    "localhost:6379": (redis.available, lambda folder: redis.RedisServer(folder / "redis", appendonly=True)),
    "localhost:5672": (rabbitmq.available, lambda folder: rabbitmq.RabbitmqServer(folder / "rabbitmq")),
}
"""What a page may take for granted: why it cannot be had here, and what makes it."""
LIMIT = 60.0
"""Seconds for one block or command."""


class Block(NamedTuple):
    kind: str
    body: str
    line: int
    reason: str | None
    """Why it is not run; None: it is run."""
    written: bool = False
    """It is a file for what follows, such as a module of a Django project, and not run by itself."""


class Command(NamedTuple):
    line: str
    shown: str
    """The output that the page shows; empty: none."""


def blocks(text: str) -> list[Block]:
    return [
        Block(
            found["kind"],
            found["body"],
            text.count("\n", 0, found.start("body")),
            found["reason"],
            found["written"] is not None,
        )
        for found in FENCE.finditer(text)
    ]


def commands(body: str) -> list[Command]:
    """The commands of a console block, those continued by a backslash joined, each with the output below it."""
    parts = re.split(r"^\$ ", body.replace("\\\n", ""), flags=re.M)
    if parts[0].strip():
        raise ValueError(f"a console block begins with a command, not with {parts[0]!r}")
    return [Command(*(text.strip() for text in part.partition("\n")[::2])) for part in parts[1:]]


def matches(shown: str, real: str) -> bool:
    """Whether the output is what the page shows: line by line, `…` for anything, spaces at the ends of lines apart."""
    pattern = ".*".join(re.escape(part) for part in re.sub(r"[ \t]+$", "", shown.strip(), flags=re.M).split("…"))
    return re.fullmatch(pattern, re.sub(r"[ \t]+$", "", real.strip(), flags=re.M), re.S) is not None


class Page:
    """Runs a page's blocks in a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._background: list[subprocess.Popen[bytes]] = []
        self._servers: dict[str, ServerProcess] = {}
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGBOAT_")}
        self._installed = folder / "installed"
        own = {"PYTHONPATH": str(self._installed), "XDG_STATE_HOME": str(folder / "state")}
        self._environment = {**kept, "PATH": path, "NO_COLOR": "1", **own}

    def run(self, block: Block) -> None:
        for place in SERVERS:
            if place in block.body:
                block = block._replace(body=block.body.replace(place, self._own(place, block)))
        if block.kind == "toml" or block.written:
            self._written(block)
        elif block.kind == "python":
            name = self._written(block)
            module = name.removesuffix(".py").replace("/", ".")
            self._check(f"{sys.executable} {f'-m {module}' if 'DJANGO_SETTINGS_MODULE' in self._environment else name}", "")
        else:
            for command in commands(block.body):
                self._shell(command)

    def _own(self, place: str, block: Block) -> str:
        """Where the page's own server of that kind is."""
        if place not in self._servers:
            unavailable, make = SERVERS[place]
            if reason := unavailable():
                pytest.skip(f"from line {block.line} on: {reason}")
            self._servers[place] = make(self._folder.with_name(f"{self._folder.name}-servers")).start()
        return f"{HOST}:{self._servers[place].port}"

    def _written(self, block: Block) -> str:
        """The name of the file that it is in now."""
        named = FILE_NAME.match(block.body)
        name = named["name"] if named else f"block_{block.line}.{block.kind}"
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(block.body)
        if name == "settings.py" and "INSTALLED_APPS" in block.body:
            self._environment["DJANGO_SETTINGS_MODULE"] = "settings"
        return name

    def _shell(self, command: Command) -> None:
        if not command.line.endswith("&"):
            self._check(command.line, command.shown)
            return
        log = (self._folder / f"background_{len(self._background)}.log").open("wb")
        with log:
            started = subprocess.Popen(
                ["bash", "-c", command.line.removesuffix("&")],
                cwd=self._folder,
                env=self._environment | {"PYTHONWARNINGS": "error"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._background.append(started)

    def _check(self, line: str, shown: str) -> None:
        pip = f"{sys.executable} -m pip install --no-deps --target {self._installed} "
        done = subprocess.run(
            ["bash", "-c", line.replace("pip install ", pip)],
            cwd=self._folder,
            env=self._environment | ({} if line.startswith("pip ") else {"PYTHONWARNINGS": "error"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        logs = "".join(f"\n--- {path.name}\n{path.read_text()}" for path in sorted(self._folder.glob("background_*.log")))
        assert done.returncode == 0, f"$ {line}\nexit status {done.returncode}\n{done.stdout}{logs}"
        assert not shown or matches(shown, done.stdout), f"$ {line}\n--- shown\n{shown}\n--- real\n{done.stdout}{logs}"

    def close(self) -> None:
        """Stop what runs in the background; it has to leave by itself when asked to."""
        failed = [process.args for process in self._background if process.poll()]
        for process in self._background:
            process.send_signal(signal.SIGTERM)
        for process in self._background:
            try:
                process.wait(20)
            finally:
                kill_group(process.pid)
        for server in self._servers.values():
            server.stop()
        assert not failed, f"left before it was stopped: {failed}"


def kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    made = Page(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_run(path: Path, page: Page, tmp_path: Path) -> None:
    if path in EXAMPLES:
        shutil.copytree(path.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
    found = [block for block in blocks(path.read_text()) if block.reason is None]
    for at, block in enumerate(found):
        page.run(block._replace(written=block.written or runs_below(block, found[at + 1 :])))


def runs_below(block: Block, further: list[Block]) -> bool:
    """Whether a command runs the file of this block, as it stands here."""
    if (named := FILE_NAME.match(block.body)) is None:
        return False
    for each in further:
        if each.kind == "console" and re.search(rf"^\$ python {re.escape(named['name'])}$", each.body, re.M):
            return True
        if (other := FILE_NAME.match(each.body)) and other["name"] == named["name"]:
            return False
    return False


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_not_run_says_why(path: Path) -> None:
    text = path.read_text()
    assert [block.line for block in blocks(text) if block.reason is not None and not block.reason.strip()] == []
    fences = re.findall(r"^ *```(\w*)", text, re.M)[::2]
    assert len(fences) * 2 == len(re.findall(r"^ *```", text, re.M)), "a block is not closed"
    assert sum(kind in ("python", "console", "toml") for kind in fences) == len(blocks(text)), (
        "an example that this test cannot read"
    )
    known = {"python", "console", "mermaid", "text", "toml", "ini"}
    assert set(fences) <= known, f"blocks of these kinds are not looked at: {sorted(set(fences) - known)}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_wire_format_is_as_written() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs" / "reference" / "wire.md").read_text(), re.M)
    assert rows == [(str(number), name) for number, name in enumerate(Job.__struct_fields__)]
    assert msgspec.msgpack.decode(codec.encode_job(Job(1, "a", "b", b"c")))[:4] == [1, "a", "b", b"c"]


def test_every_state_is_described() -> None:
    text = (ROOT / "docs" / "lifecycle.md").read_text()
    assert re.findall(r"^\| \*\*(\w+)\*\* \|", text, re.M) == [state.value for state in State]
    drawn = set(re.findall(r"^    (\w+) -->|--> (\w+):", text, re.M))
    assert {name for pair in drawn for name in pair if name} == {state.value for state in State}


def test_every_key_on_redis_is_described() -> None:
    folder = ROOT / "src" / "longboat" / "brokers" / "redis"
    text = "\n".join(path.read_text() for path in sorted([*folder.glob("lua/*.lua"), *folder.glob("*.py")]))
    used = set(re.findall(r"\bP \.\. '(\w+)", text)) | set(re.findall(r"\.key\(f?\"(\w+)", text))
    used |= set(re.findall(r"'(\w+):'", text)) - {"p", "d"}  # names of alarms
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "redis.md").read_text(), re.M)
    described = {name for row in rows for name in re.findall(r"`(\w+)[:`]", row)}
    assert used - {"nothing"} <= described
    assert not (gone := {name for name in described if not re.search(rf"\b{name}\b", text)}), gone


GOOD = """
```python
# say.py
print("said", __name__)
```

<!-- not run: takes a day -->
```console
$ sleep 86400
```

```console
$ python3 -c 'import sys; sys.exit("LONGBOAT_APP" in __import__("os").environ)'
$ sleep 600 &
$ python say.py
said …
```
"""


def test_a_page_is_run(page: Page, tmp_path: Path) -> None:
    for block in blocks(GOOD):
        if block.reason is None:
            page.run(block)
    assert (tmp_path / "say.py").exists()
    assert [block.reason for block in blocks(GOOD)] == [None, " takes a day ", None]


def test_an_example_meets_a_redis_of_its_own(page: Page) -> None:
    code = "import redis\nwith redis.Redis.from_url('redis://localhost:6379') as server:\n    assert server.dbsize() == 0\n"
    for block in blocks(f"```python\n{code}```\n\n```python\n{code}    server.set('a', 1)\n```"):
        page.run(block)
    (block,) = blocks(f"```python\n{code}```")
    with pytest.raises(AssertionError):
        page.run(block)


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 / 0\n```",
        "```python\nimport warnings\nwarnings.warn('x')\n```",
        "```console\n$ false\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ printf 'one\\ntwo\\n'\none\n```",
    ],
)
def test_a_wrong_example_is_found(text: str, page: Page) -> None:
    (block,) = blocks(text)
    with pytest.raises(AssertionError):
        page.run(block)


def test_a_background_command_that_fails_is_found(tmp_path: Path) -> None:
    page = Page(tmp_path)
    (block,) = blocks("```console\n$ touch began; exit 3 &\n$ until [ -e began ]; do sleep 0.01; done; sleep 0.1\n```")
    page.run(block)
    with pytest.raises(AssertionError, match="left before"):
        page.close()
