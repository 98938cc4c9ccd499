"""What drivers tell of their puts: jobs a second, without the start of the interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(put: Callable[[int], None]) -> Callable[[int], None]:
    """It prints its speed. One job goes first, which opens the connection and declares what is needed."""

    def told(number: int) -> None:
        put(1)
        begun = time.perf_counter()
        put(number - 1)
        print((number - 1) / (time.perf_counter() - begun))

    return told
