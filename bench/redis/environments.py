"""Virtual environments for the other queues, under .venv-peers/: made once, with pinned versions.

Those whose pins agree share one; `arq` and `saq` ask for older Redis clients and have one each.
`python -m bench.redis.environments` makes them all.
"""

from __future__ import annotations

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
    "saq": ("saq[redis]==0.26.4", "redis==7.4.1", "hiredis==3.5.0", "uvloop==0.23.0", "typing-extensions==4.16.0"),
}


def python(name: str) -> Path:
    """The interpreter of an environment, which is made if it is not there as pinned."""
    place = ENVIRONMENTS / name
    interpreter, stamp = place / "bin" / "python", place / "pins"
    pins = "\n".join((sys.version, *PINS[name]))
    if not stamp.exists() or stamp.read_text() != pins:
        print(f"making {place}", file=sys.stderr, flush=True)
        run(sys.executable, "-m", "venv", "--clear", str(place))
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
        print(python(name))
