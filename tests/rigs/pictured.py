"""A shop with a past: a quarter of an hour of history and workers of several hosts, for the documentation's pictures."""

from __future__ import annotations

import math
import random
import time

import msgspec

from longboat import Longboat
from longboat.contract.kv import Entry
from longboat.core.job import State
from longboat.observe.depth import keep
from longboat.observe.history import GRAINS, WORKERS, WorkerRecord, note_key
from longboat.observe.numbers import Numbers
from longboat.observe.sketch import Sketch, put
from longboat.observe.tally import Tally, encoded
from longboat.operate import audit
from longboat.operate.audit import By
from tests.rigs.dashboard import shop, stock


def pictured() -> Longboat:
    app = shop("memory://")
    for task in app.registry.tasks.values():
        task.fn.__code__ = task.fn.__code__.replace(co_filename="shop.py")  # the path of a checkout is nobody's business
    stock(app)
    kv, namespace = app.broker.kv, GRAINS[0].namespace
    kv.write(namespace, [Entry(key, None) for key, _ in kv.entries(namespace)])  # what ran here was over in no time
    now = time.time()
    chance = random.Random(7)
    for place in range(93):  # those of the future come while the pictures are taken
        at = now - 900 + 10 * place
        busy = 1.4 + math.sin(place / 14) + chance.random() * 0.3
        rows = {
            ("mail", "shop.send_mail"): _tally(chance, int(120 * busy), 0.08, 4 if 60 < place < 66 else 0),
            ("default", "shop.resize"): _tally(chance, int(70 * busy), 0.4, int(chance.random() * 1.3)),
            ("reports", "shop.report"): _tally(chance, int(4 * busy), 6.0, 0),
        }
        app.broker.kv.write(GRAINS[0].namespace, [Entry(note_key(at // 10 * 10, "web-1:17"), encoded(rows), 7200)])
        depth = {
            ("mail", State.READY): int(80 * busy),
            ("mail", State.RUNNING): int(14 * busy),
            ("mail", State.SCHEDULED): 40,
        }
        keep(app.broker.kv, Numbers(depth, frozenset(State)), at)
    audit.record(kv, By("“ann”", "page", role="operator"), "retry", "4 jobs retried")
    audit.record(kv, By("“ben”", "page", role="operator", reason="the printer is away"), "pause", "queue reports paused")
    audit.record(kv, By("ben", "command line", "web-2"), "worker-quiet", "worker web-2:18 takes no more jobs")
    for number, host in enumerate(("web-1", "web-2")):
        record = WorkerRecord(
            f"{host}:{17 + number}",
            "",
            host,
            17 + number,
            "0.1.0",
            now - 90_000,
            [],
            sorted(app.registry.tasks),
            {},
            [],
            0,
            0,
        )
        jobs = app.broker.inspector.jobs(State.SUCCEEDED).jobs[4 * number : 4 * number + 3]
        record.running = [(job.id, job.task, now - 9 + 2.3 * place) for place, job in enumerate(jobs)]
        record.slots, record.ended, record.memory = {"async": 100, "thread": 8}, 48_211 - 977 * number, 61_400_000 + number
        record.state, record.schedules = "quiet" if number else "working", ["shop.nightly"]
        app.broker.kv.write(WORKERS, [Entry(record.name, msgspec.msgpack.encode(record), 600)])
    return app


def _tally(chance: random.Random, count: int, typical: float, dead: int) -> Tally:
    run: Sketch = {}
    wait: Sketch = {}
    for _ in range(count):
        put(run, typical * chance.lognormvariate(0, 0.6))
        put(wait, 0.02 * chance.lognormvariate(0, 1.1))
    return Tally(count, count // 30, dead, 0, wait, run)
