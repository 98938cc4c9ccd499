"""Virtual environments for the other queues, under .venv-peers/: made once, with pinned versions.

Those whose pins agree share one; `arq` and `saq` ask for older Redis clients and have one each,
`oban` for a newer Python.
`python -m bench.peers.environments` makes them all.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from bench.place import ROOT

ENVIRONMENTS = ROOT / ".venv-peers"

PINS = {
    "shared": (
        "celery[redis]==5.7.0",
        "rq==2.12.0",
        "dramatiq[redis]==2.2.1",
        "huey==3.5.4",
        "taskiq==0.13.0",
        "taskiq-redis==1.2.4",
        "streaq==7.2.0",
        "redis==8.1.0",
        "hiredis==3.5.0",
        "uvloop==0.23.0",
    ),
    "arq": ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0", "uvloop==0.23.0"),
    # Of typing-extensions, saq says nothing and cannot do without.
    "postgres": (
        "pgqueuer==1.6.0",
        "asyncpg==0.32.0",
        "procrastinate==3.10.0",
        "psycopg[binary,pool]==3.3.9",
        "uvloop==0.23.0",
    ),
    "oban": ("oban==0.7.0", "psycopg[binary,pool]==3.3.9", "uvloop==0.23.0"),
    "rabbitmq": ("celery==5.7.0", "dramatiq[rabbitmq]==2.2.1", "pika==1.4.4"),
    "saq": ("saq[redis]==0.26.4", "redis==7.4.1", "hiredis==3.5.0", "uvloop==0.23.0", "typing-extensions==4.16.0"),
}


AT_LEAST = {"oban": (3, 12)}
"""What needs a newer Python than Longboat does."""


def maker(name: str) -> str | None:
    """The interpreter to make an environment with; None: there is none on this machine that is new enough."""
    least = AT_LEAST.get(name, (0, 0))
    if sys.version_info >= least:
        return sys.executable
    others = subprocess.run(
        ["sh", str(ROOT / "tools" / "environment"), "others"], check=True, stdout=subprocess.PIPE, text=True
    )
    found = (line.split(maxsplit=1) for line in others.stdout.splitlines())
    return next((path for version, path in found if tuple(map(int, version.split("."))) >= least), None)


@functools.cache
def python(name: str) -> Path:
    """The interpreter of an environment, which is made if it is not there as pinned."""
    place = ENVIRONMENTS / name
    interpreter, stamp = place / "bin" / "python", place / "pins"
    made_by = maker(name)
    if made_by is None:
        raise RuntimeError(f"{name} needs Python {AT_LEAST[name]} or newer")
    pins = "\n".join((sys.version if made_by == sys.executable else made_by, *PINS[name]))
    if not stamp.exists() or stamp.read_text() != pins:
        print(f"making {place}", file=sys.stderr, flush=True)
        run(made_by, "-m", "venv", "--clear", str(place))
        run(str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *PINS[name])
        stamp.write_text(pins)
    return interpreter


def run(*command: str) -> None:
    """Raises with what it said if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")


if __name__ == "__main__":
    for name in PINS:
        print(python(name) if maker(name) else f"{name} needs a newer Python")
