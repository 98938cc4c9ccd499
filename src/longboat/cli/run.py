"""What `longboat worker` runs: a supervisor, and in each of its processes an app's worker."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from longboat.cli.start import wait_for
from longboat.core.job import Failure
from longboat.core.signals import shield
from longboat.errors import (
    AppNotFound,
    BrokerError,
    BrokerMisconfigured,
    ConfigError,
    LongboatError,
    Unsupported,
    WorkerFailed,
)
from longboat.executors.base import watched
from longboat.executors.timed_calls import TimedCall
from longboat.observe.logs import LogFormat, listener, set_up
from longboat.worker import channel, overruns
from longboat.worker.channel import Channel
from longboat.worker.options import WorkerOptions, options
from longboat.worker.remote_commands import COMMANDED
from longboat.worker.say import say, say_as
from longboat.worker.scaler import Scaler, bounds
from longboat.worker.supervisor import EXIT_APP, EXIT_BROKER, EXIT_FAILED, EXIT_RECYCLE, EXIT_REFUSED, Supervisor
from longboat.worker.terminal import let_go
from longboat.worker.worker import Worker  # here, before the fork: all worker processes share its pages

if TYPE_CHECKING:
    from longboat.app import Longboat
    from longboat.tasks.registry import Registry

RECYCLED = frozenset({"max-jobs", "max-memory", "worn", "reload"})
"""Reasons to finish that ask for a new process."""
EVICT_TRIES = 20
UNHURRIED = frozenset({"retire", "worn"})
"""Reasons to finish what runs however long it takes: nobody waits for the process to end."""
RETIREMENT = 30 * 86400.0
"""Seconds that running jobs have to end when their process is merely surplus."""


def worker(
    specs: Sequence[str],
    *,
    include: Sequence[str],
    workers: int,
    reload: bool,
    wait_for_broker: float,
    log_level: str,
    log_format: LogFormat = "text",
    scale: str | None = None,
    **chosen: Any,
) -> int:
    """Run workers of the apps that `specs` name until told to stop; returns the exit status.

    `include`: further modules with tasks. `wait_for_broker`: seconds, if it is not there yet.
    `chosen`: see longboat.worker.options.options. Raises ConfigError for options that make no sense.
    """
    scaler = None if scale is None else Scaler(*bounds(scale))
    settings = options(**chosen, health_ports=scaler.most if scaler is not None else workers)
    if scaler is not None:
        if workers != 1 or settings.burst:
            raise ConfigError(
                "scale: it chooses the number of workers itself, so it cannot be combined with --workers or --burst"
            )
        workers = scaler.least

    def main(end: Channel) -> int:
        from longboat.cli import locate

        def find() -> list[Longboat]:
            apps = locate.find_all(specs, include)
            set_up(log_level, log_format)
            return apps

        return _serve(end, find, settings, Start(reload, scaler is not None, wait_for_broker))

    gc.freeze()  # a collection in a worker would write to each object of before the fork, and so copy the pages they share
    say_as(log_format)
    silence = settings.lease + 5.0
    return Supervisor(main, _evict, workers=workers, grace=settings.grace, silence=silence, scaler=scaler).run()


def _evict(url: str, consumer: str, failure: Failure, overrun: TimedCall | None) -> None:
    """Runs in its own process: a broker that is down must not hold up the supervisor."""
    from longboat.connect import connect

    broker = connect(url)
    for _ in range(EVICT_TRIES):
        try:
            if overrun is not None:
                with contextlib.suppress(Unsupported):
                    overruns.note(broker.kv, overrun)
            broker.evict(consumer, failure)
            break
        except BrokerError:
            time.sleep(0.25)
    broker.close()


class Start(NamedTuple):
    """How a worker process is started."""

    reload: bool
    """It follows the code."""
    reports: bool
    """It tells the supervisor its load."""
    patience: float
    """Seconds to wait for a broker that is not there yet."""


def _serve(end: Channel, find: Callable[[], list[Longboat]], settings: WorkerOptions, start: Start) -> int:
    """One worker process, from import to end."""
    from longboat.cli.reload import Watcher

    watcher = Watcher()
    try:
        app, *others = find()
        registry = _together(app, others)
        if app.url.startswith("memory://"):
            raise ConfigError(
                "the app's URL is memory://, which lives inside one process.\nUse app.worker() in that process, or a file."
            )
        import faulthandler

        if sys.__stderr__ is not None:  # else its number may be that of any file
            faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
        if not wait_for(app.broker, start.patience, end.waits):
            return 0
        made = _told(app, registry, settings, end, start.reports)
        with contextlib.ExitStack() as stack:
            for each in (app, *others):
                stack.enter_context(each)
            _run(made, end, [watcher.start, *(each.watch for each in (app, *others))] if start.reload else ())
    except (AppNotFound, BrokerMisconfigured, ConfigError) as error:
        _complain(error)
        if not start.reload:
            return EXIT_REFUSED if isinstance(error, BrokerMisconfigured) else EXIT_APP
        return EXIT_RECYCLE if _wait_for_change(end, watcher) else 0
    except BrokerError as error:
        _complain(error)
        return EXIT_BROKER
    except WorkerFailed:  # it is logged
        return EXIT_FAILED
    return EXIT_RECYCLE if made.reason in RECYCLED else 0


def _told(app: Longboat, registry: Registry, settings: WorkerOptions, end: Channel, reports: bool) -> Worker:
    """A worker whose supervisor is told how it is, and whose log is what the level asks for."""
    verbose = logging.getLogger("longboat").isEnabledFor(logging.DEBUG)
    app.bus.listen(listener, every_job=verbose)
    made = _worker(app, registry, settings)
    made.link.on_consumer = partial(_tell, end, app.url)
    made.status.beaten = partial(end.send, channel.BEAT)
    made.status.replaced = True
    made.show_timed_calls(end.timed)
    made.status.on_failure = partial(end.send, channel.FAILED)
    if not verbose and logging.getLogger("longboat").isEnabledFor(logging.INFO):
        made.report_successes()
    if reports:
        made.report_load(partial(end.send, channel.LOAD))
    return made


def _tell(end: Channel, url: str, consumer: str) -> None:
    end.send(channel.BROKER, url)  # first: without it, the consumer's jobs could not be handed back
    end.send(channel.CONSUMER, consumer)


def _together(app: Longboat, others: Sequence[Longboat]) -> Registry:
    """The tasks of all these apps. Raises ConfigError unless they have one broker."""
    from longboat.core.urls import shown
    from longboat.tasks.registry import Registry

    registry = Registry() if others else app.registry
    for each in (app, *others) if others else ():
        if each.url != app.url:
            raise ConfigError(
                f"one worker serves one broker, but these apps have {shown(app.url)} and {shown(each.url)}.\n"
                "Give all of them one URL (--url, LONGBOAT_URL), or start a worker for each."
            )
        registry.merge(each.registry)
    for each in others:
        app.bus.listen(each.bus.emit, every_job=each.bus.every_job)
    return registry


def _worker(app: Longboat, registry: Registry, settings: WorkerOptions) -> Worker:
    from longboat.core.urls import shown

    enqueued = app.client.enqueue_events.counts
    worker = Worker(app.broker, registry, settings, app.bus, address=shown(app.url), enqueued=enqueued)
    worker.relay(app.relay())
    return worker


def _run(made: Worker, end: Channel, watches: Sequence[Callable[[Callable[[], object]], object]]) -> None:
    """Run the worker until it has finished. Its event loop has a thread of its own, so that no task can keep this one from
    hearing that it is to stop."""

    def follow() -> None:
        for word, _ in end.lines():
            let_go()
            made.finish("retire" if word == channel.RETIRE else "stop")
            if word == channel.NOW:
                made.close(0.0)
            elif word == channel.STOP and made.reason in UNHURRIED:
                threading.Thread(target=made.close, name="longboat-stop").start()  # the grace of running jobs begins now
        made.finish("orphaned")  # the supervisor is gone

    shield(signal.SIGTERM, handler=lambda *_: made.finish("stop"))
    # What the imports created lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)  # a batch of jobs in flight is not garbage
    with made:
        watched("commands", follow, made.status.failed).start()
        for watch in watches:
            watch(lambda: made.finish("reload"))
        made.finished.wait()
        if made.reason == COMMANDED:
            end.send(channel.LEAVING)
        elif made.reason == "worn":
            if made.health is not None:
                made.health.close()  # the port is for the process that follows
            end.send(channel.WORN)
        made.close(RETIREMENT if made.reason in UNHURRIED else None)


def _wait_for_change(end: Channel, watcher: Any) -> bool:
    """With --reload, wait for an app that cannot be imported to change. False if told to stop meanwhile."""
    changed = threading.Event()
    stopped: list[bool] = []

    def follow() -> None:
        for _ in end.lines():
            break
        stopped.append(True)
        changed.set()

    threading.Thread(target=follow, daemon=True).start()
    watcher.start(changed.set)
    changed.wait()
    return not stopped


def _complain(error: LongboatError) -> None:
    from longboat.cli import fail

    what, advice, _ = fail.told(error)
    say(f"Error: {fail.line(what)}\n{fail.line(advice)}", level=logging.ERROR)
