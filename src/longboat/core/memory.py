"""How much memory this process takes."""

from __future__ import annotations

import os


def resident() -> int:
    """Bytes resident now. Elsewhere than on Linux, the most there ever were: that is all that can be read."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        import resource
        import sys

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
