"""A master and two workers on a network: `python examples/lan/lan.py`.

As root on Linux each worker has a network namespace of its own, as if it were another machine; otherwise all are on
loopback. The master publishes a SQLite file; the workers square numbers and read a large file whose path they are told.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
NUMBERS = 1000
LARGE = 100_000_000
BRIDGE = f"lb{os.getpid() % 100_000}"
MASTER = "10.99.0.1"

Command = list[str]


@contextlib.contextmanager
def machines(count: int) -> Iterator[tuple[str, list[Command]]]:
    """The master's address, and for each worker what its command begins with."""
    names = [f"{BRIDGE}-{n}" for n in range(1, count + 1)]
    if not may_make(names):
        print("no network namespaces here (they need root): all on loopback")
        yield "127.0.0.1", [[] for _ in names]
        return
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{MASTER}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for n, name in enumerate(names, 1):
            ip("link", "add", f"{BRIDGE}v{n}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{BRIDGE}v{n}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"10.99.0.{n + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        print(f"{count} workers in network namespaces of their own, the master at {MASTER}")
        yield MASTER, [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            ip("netns", "del", name, check=False)
        ip("link", "del", BRIDGE, check=False)


def may_make(names: list[str]) -> bool:
    try:
        return all(ip("netns", "add", name, check=False) for name in names)
    except FileNotFoundError:
        return False


def ip(*words: str, check: bool = True) -> bool:
    return subprocess.run(["ip", *words], check=check, capture_output=True).returncode == 0


@contextlib.contextmanager
def started(command: Command, url: str = "") -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **({"LONGBOAT_URL": url} if url else {})}
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def main() -> None:
    os.environ["LONGBOAT_AUTHKEY"] = secrets.token_hex(32)
    longboat = [sys.executable, "-m", "longboat"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address, prefixes = stack.enter_context(machines(2))
        serve = [*longboat, "serve", "--bind", f"{address}:0", "--store", f"sqlite:///{folder}/queue.db"]
        told = stack.enter_context(started(serve)).stdout
        assert told is not None
        url = told.readline().split()[-1]
        for prefix in prefixes:
            stack.enter_context(started([*prefix, *longboat, "worker", "tasks:app", "--log-level", "warning"], url))
        work(url, folder, len(prefixes) if address == MASTER else 0)


def work(url: str, folder: Path, distinct: int) -> None:
    """The caller. `distinct`: at how many addresses workers are to be met."""
    sys.path.insert(0, str(HERE))
    import tasks
    from longboat import gather

    tasks.app.url = url
    begun = time.perf_counter()
    squares = gather(*tasks.square.enqueue_many((n,) for n in range(NUMBERS))).result(timeout="60s")
    assert squares == [n * n for n in range(NUMBERS)]
    print(f"{NUMBERS} squares in {time.perf_counter() - begun:.2f} s, the largest {squares[-1]:,}")
    large = folder / "large"
    data = os.urandom(1_000_000) * (LARGE // 1_000_000)
    large.write_bytes(data)
    assert tasks.digest.enqueue(large).result(timeout="60s") == hashlib.sha256(data).hexdigest()
    print(f"a file of {LARGE / 1e6:.0f} MB was read where it lies: its path was sent")
    met: set[str] = set()
    while len(met) < distinct:
        met |= set(gather(*tasks.addresses.enqueue_many(() for _ in range(20))).result(timeout="60s"))
    if met:
        print(f"workers were met at {', '.join(sorted(met))}")
    tasks.app.close()


if __name__ == "__main__":
    main()
