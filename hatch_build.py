"""Copies what the dashboard's pages load (uPlot) from npm into the package, when it is built.

`python hatch_build.py` does it for a checkout. The versions stand in package.json, what the files must hold stands below.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # run by hand
    BuildHookInterface = object

ROOT = Path(__file__).parent
VENDOR = Path("src/longboat/dashboard/static/vendor")

FILES = {
    "uPlot.iife.min.js": (
        "uplot/dist/uPlot.iife.min.js",
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    ),
    "uPlot.min.css": ("uplot/dist/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    "uPlot.LICENSE": ("uplot/LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
}
"""Name in the package -> where npm puts it, and the SHA-256 of what is in it."""


PATIENCE = (
    "--loglevel=error",
    "--no-progress",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-timeout=30000",
)
"""By itself npm tries for minutes before it says that there is no network."""


class Missing(Exception):
    """The files are not there and cannot be had; the message says why."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is there when a package is built
    """An editable install does without the files where there is no npm: pages can be read without scripts."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            fetch(Path(self.root))
        except Missing as error:
            if version != "editable":
                raise RuntimeError(f"the dashboard's scripts are missing: {error}") from None
            print(f"the dashboard will have no charts: {error}", file=sys.stderr)
        build_data["artifacts"].append(f"{VENDOR.as_posix()}/*")


def fetch(root: Path) -> None:
    """Bring the files of this version into the package, if they are not there. Raises Missing."""
    folder = root / VENDOR
    if all(_sum(folder / name) == wanted for name, (_, wanted) in FILES.items()):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("there is no npm here to get them with; on Debian: apt install npm")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(root / "package.json", place)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", *PATIENCE]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"npm install failed: {(done.stderr or done.stdout).strip()[:500]}")
        folder.mkdir(parents=True, exist_ok=True)
        for name, (source, wanted) in FILES.items():
            path = Path(place, "node_modules", source)
            if _sum(path) != wanted:
                raise Missing(f"{source} from npm is not what it should be: mend package.json and FILES together")
            shutil.copyfile(path, folder / name)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


if __name__ == "__main__":
    try:
        fetch(ROOT)
    except Missing as error:
        sys.exit(f"error: {error}")
