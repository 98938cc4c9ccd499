"""One worker process without a supervisor, for what is measured of a single process: `python -m bench.worker [--burst]`.

Ends on SIGTERM, or with --burst when no job is left.
"""

from __future__ import annotations

import signal
import sys

from bench.jobs import app
from longboat.worker.garbage import calm


def main() -> None:
    calm()
    with app.worker(queues=["default"], concurrency=100, processes=2, burst="--burst" in sys.argv) as worker:
        signal.signal(signal.SIGTERM, lambda *_: worker.finish("terminated"))
        worker.finished.wait()
    app.close()


if __name__ == "__main__":
    main()
