"""Coverage is told by room, and what falls below the floor is a failure."""

from __future__ import annotations

from tools.covered import by_room, told


def test_rooms_are_added_up_lines_and_branches() -> None:
    def file(lines: int, run: int, branches: int, taken: int) -> dict[str, int]:
        return {"num_statements": lines, "covered_lines": run, "num_branches": branches, "covered_branches": taken}

    rooms = by_room(
        {
            "src/longboat/app.py": file(10, 10, 0, 0),
            "src/longboat/worker/run.py": file(10, 5, 4, 1),
            "/elsewhere/src/longboat/worker/end.py": file(6, 6, 0, 0),
            "src/longboat/brokers/redis/keys.py": file(4, 3, 0, 0),
        }
    )
    assert rooms == {"app": (10, 10), "brokers/redis": (3, 4), "worker": (12, 20), "in all": (25, 34)}
    assert told(rooms).splitlines()[2:] == ["  60.0 %  worker", "  73.5 %  in all"]
