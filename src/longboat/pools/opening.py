"""What the arguments of an executor or a pool mean: its route, checked before anything is opened."""

from __future__ import annotations

from typing import Any

from longboat.app import Longboat
from longboat.errors import ConfigError
from longboat.pools.jobs import Jobs
from longboat.pools.private import Limits, Private
from longboat.pools.routes import KEEP, Batch, ByName, ByWay, Route, Within
from longboat.pools.way import Setup, Way
from longboat.tasks.task import Task


def app_and_number(app: Longboat | int | None, number: int | None, name: str) -> tuple[Longboat | None, int | None]:
    """The app, and how many processes: the number may stand in the place of the app. Raises ConfigError."""
    if callable(number):
        where = "Pool" if name == "processes" else "Executor"
        count = app if isinstance(app, int) else "app"
        raise ConfigError(
            f"{name}: {number!r} is no number. Name what comes after the first argument: "
            f"`{where}({count}, initializer={getattr(number, '__name__', 'init')}, initargs=(…,))`"
        )
    if isinstance(app, int):
        if number is not None:
            raise ConfigError(f"{name} is given twice: {app} and {number}")
        return None, app
    if app is not None and not isinstance(app, Longboat):
        raise ConfigError(f"{app!r} is no app: the first argument is a Longboat, or how many processes")
    return app, number


def opened(
    app: Longboat | None,
    limits: Limits,
    setup: Setup | None,
    *,
    patient: bool,
    pickle: bool = False,
    batch: str | None = None,
) -> Jobs:
    """Raises ConfigError."""
    if setup is not None and not callable(setup.initializer):
        raise TypeError(f"initializer: {setup.initializer!r} must be callable")
    names = None if batch is None else Batch(batch)
    if app is None:
        return _private(limits, pickle, names, setup, patient)
    route: Route
    if pickle:
        route = ByWay(app, *_signed(app, setup), names)
    elif setup is not None:
        raise ConfigError(
            "initializer: workers of an app run it with pickle=True only; a lifespan of the app can do its work"
        )
    else:
        route = ByName(app, names)
    return Jobs(route, own=False, patient=patient)


def _signed(app: Longboat, setup: Setup | None) -> tuple[Task[..., Any], Way]:
    if not app.pickle:
        raise ConfigError("pickle=True: workers run pickles only of an app that says so: Longboat(…, pickle=True)")
    from longboat.pools import pickled, signed

    return app.task_of(signed.run), signed.Signed(pickled.Pickled, setup)


def _private(limits: Limits, pickle: bool, batch: Batch | None, setup: Setup | None, patient: bool) -> Jobs:
    from longboat.pools import calls

    private = Private(limits, batch.name if batch is not None else "", lambda error: jobs.fail(error))
    try:
        way: Way
        if pickle:
            from longboat.pools import pickled

            way, run = pickled.Pickled(str(private.folder), setup), pickled.run
        else:
            way, run = calls.Plain(setup), calls.run
    except BaseException:
        private.close()
        raise
    task = private.task(run, 0.0 if batch is None else KEEP)
    jobs = Jobs(Within(private, task, way, batch), own=True, patient=patient)
    return jobs
