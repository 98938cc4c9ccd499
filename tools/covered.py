"""How much of each room the tests ran: branch coverage by room, and whether the whole is at least what it was.

    coverage combine && python tools/covered.py --floor 90

Reads what `coverage run` has left behind. Ends with status 1 if the whole package is below the floor, in per cent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

PACKAGE = "src/longboat/"


def main(floor: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(path)], check=True)
        files: dict[str, Any] = json.loads(path.read_text())["files"]
    rooms = by_room({name: file["summary"] for name, file in files.items()})
    print(told(rooms))
    whole = percent(*rooms["in all"])
    if whole < floor:
        print(f"\ncoverage is {whole:.1f} %, below the floor of {floor:g} %: see `coverage report -m` for what no test runs")
        return 1
    return 0


def by_room(summaries: dict[str, dict[str, int]]) -> dict[str, tuple[int, int]]:
    """Room -> (lines and branches run, all of them); the whole stands last."""
    rooms: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, summary in summaries.items():
        parts = name.partition(PACKAGE)[2].split("/")
        room = "/".join(parts[:2]) if parts[0] == "brokers" and len(parts) > 2 else parts[0].removesuffix(".py")
        for each in (room, "in all"):
            run, there = rooms[each]
            rooms[each] = (
                run + summary["covered_lines"] + summary.get("covered_branches", 0),
                there + summary["num_statements"] + summary.get("num_branches", 0),
            )
    whole = rooms.pop("in all", (0, 0))
    return {**dict(sorted(rooms.items())), "in all": whole}


def told(rooms: dict[str, tuple[int, int]]) -> str:
    return "\n".join(f"{percent(run, there):6.1f} %  {room}" for room, (run, there) in rooms.items())


def percent(run: int, there: int) -> float:
    return 100 * run / there if there else 100.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--floor", type=float, default=0.0)
    sys.exit(main(parser.parse_args().floor))
