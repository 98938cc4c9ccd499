"""A task in a child process that is given something which is closed with that process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longboat import Depends, Longboat

app = Longboat("memory://")


def opened() -> Iterator[dict[str, str]]:
    made: dict[str, str] = {}
    yield made
    Path(made["folder"], "closed").write_text(str(os.getpid()))


@app.task(executor="process")
def where(folder: str, made: Any = Depends(opened)) -> int:
    made["folder"] = folder
    return os.getpid()
