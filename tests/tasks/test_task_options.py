"""Options of tasks, calls, workers and URLs: what makes no sense is refused at the earliest place, and named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from longboat import BadArguments, ConfigError, Longboat, Unique, connect, every
from longboat.app import scheduled
from longboat.core.clock import seconds
from longboat.core.retry import LONGEST, policy
from longboat.worker.options import options

app = Longboat("memory://")


async def coroutine() -> None: ...
def function() -> None: ...
def generator() -> Any:
    yield 1


def local() -> Any:
    def inner() -> None: ...

    return inner


def anything(row: Any) -> None: ...
def hidden() -> None: ...


replaced, hidden = hidden, function

elsewhere = Longboat("sqlite:///nowhere.db")


@pytest.mark.parametrize(
    ("said", "make"),
    [
        ("retries", lambda: app.task(retries=-1)(function)),
        ("backoff", lambda: app.task(backoff=[])(function)),
        ("backoff", lambda: app.task(backoff="soon")(function)),
        ("timeout", lambda: app.task(timeout=0)(function)),
        ("timeout", lambda: app.task(timeout=-1)(function)),
        ("expires", lambda: app.task(expires=float("nan"))(function)),
        ("queue", lambda: app.task(queue="")(function)),
        ("comma", lambda: app.task(queue="a,b")(function)),
        ("priority", lambda: app.task(priority=2**31)(function)),
        ("executor", lambda: app.task(executor="threads")(function)),  # type: ignore[call-overload]  # wrong on purpose
        ("coroutine function", lambda: app.task(executor="thread")(coroutine)),
        ("plain function", lambda: app.task(executor="async")(function)),
        ("generator", lambda: app.task(generator)),
        ("top of a module", lambda: app.task(executor="process")(lambda: None)),
        ("lambda", lambda: elsewhere.task(lambda: None)),
        ("local", lambda: elsewhere.task(local())),
        ("top of a module", lambda: elsewhere.enqueue(lambda: None)),
        ("top of a module", lambda: elsewhere.enqueue(local())),
        ("top of a module", lambda: elsewhere.enqueue(print)),
        ("would find", lambda: elsewhere.enqueue(replaced)),
        ("generator", lambda: elsewhere.enqueue(generator)),
        ("retries", lambda: app.task(function).using(retries=-1)),
        ("timeout", lambda: app.task(function).using(timeout=0)),
        ("retry_on", lambda: app.task(retry_on="ValueError")(function)),  # type: ignore[arg-type]  # wrong on purpose
        ("task name", lambda: app.task(name=" a")(function)),
        ("not both", lambda: app.task(function).using(delay=1, run_at=datetime.now().astimezone())),
        ("time zone", lambda: app.task(function).using(run_at=datetime(2030, 1, 1))),
        ("unknown option 'retry': did you mean 'retries'", lambda: app.task(retry=1)(function)),  # type: ignore[call-overload]  # wrong on purpose
        ("unknown option 'max_retries': did you mean 'retries'?", lambda: app.task(max_retries=1)(function)),  # type: ignore[call-overload]  # wrong on purpose
        ("'countdown': did you mean 'delay' of task.using", lambda: app.task(countdown=1)(function)),  # type: ignore[call-overload]  # wrong on purpose
        ("'rate_limit': did you mean 'limit' of @app.task", lambda: app.task(function).using(rate_limit=1)),  # type: ignore[call-arg]  # wrong on purpose
        ("unknown option 'colour'. There are", lambda: app.task(colour=1)(function)),  # type: ignore[call-overload]  # wrong on purpose
        ("unknown option 'delai': did you mean 'delay'", lambda: app.task(function).using(delai=1)),  # type: ignore[call-arg]  # wrong on purpose
        ("id", lambda: app.task(function).using(id="")),
        ("one id names one job", lambda: app.task(function).using(id="x").enqueue_many([()])),
        ("concurrency", lambda: options(concurrency=0)),
        ("max_jobs", lambda: options(max_jobs=0)),
        ("lease", lambda: options(lease=0.5)),
        ("names no broker", lambda: connect("mysql://host")),
        ("names no broker", lambda: connect("queue.db")),
        ("three slashes", lambda: connect("sqlite://queue.db")),
        ("synchronous", lambda: connect("sqlite:///q.db?synchronous=off")),
        ("unknown option 'sync'", lambda: connect("sqlite:///q.db?sync=1")),
        ("no address", lambda: connect("memory://host")),
    ],
)
def test_refused(said: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", "[?]")):
        make()


def test_a_schedule_refuses_an_option_that_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="timezone"):
        Longboat("memory://").schedule("* * * * *", timezone="UTC")(app.task(function))  # type: ignore[call-arg]  # wrong on purpose


def test_a_call_may_do_without_what_its_task_says() -> None:
    task = Longboat("memory://").task(expires="1m", unique=Unique())(function)
    made = task.using(expires=None, unique=None).template
    assert (made.expires, made.unique) == (None, None)
    assert (task.template.expires, task.template.unique) == (60.0, Unique())


def test_a_local_function_can_be_a_task_by_a_name_or_within_one_process() -> None:
    assert elsewhere.task(name="inner")(local()).name == "inner"
    assert "<locals>" in app.task(local()).name


@pytest.mark.parametrize(
    ("of", "word", "ours"),
    [
        ("task", "delay", "enqueue"),
        ("task", "apply_async", "using"),
        ("task", "kiq", "aenqueue"),
        ("handle", "get", "result"),
        ("handle", "revoke", "cancel"),
        ("handle", "ready", "status"),
        ("call", "result", "enqueue"),
        ("call", "apply_async", "enqueue"),
    ],
)
def test_the_words_of_other_queues_are_answered(of: str, word: str, ours: str) -> None:
    task = app.task(function)
    thing = {"task": task, "handle": task.job("x"), "call": task.s()}[of]
    with pytest.raises(AttributeError, match=rf"use {ours}\("):
        getattr(thing, word)
    assert word not in dir(thing)
    with pytest.raises(AttributeError, match="no_such_thing"):
        thing.no_such_thing  # type: ignore[attr-defined]  # noqa: B018  # wrong on purpose


def test_what_is_typed_into_a_session_is_no_task_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def typed() -> None: ...

    typed.__module__, typed.__qualname__ = "__main__", "typed"
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    with pytest.raises(ConfigError, match="%%writefile"):
        elsewhere.task(typed)
    assert elsewhere.task(name="typed")(typed).name == "typed"
    assert app.task(typed).name == "__main__.typed"
    monkeypatch.delattr("sys.ps1")
    assert Longboat("sqlite:////nowhere/queue.db").task(typed).name == "__main__.typed"


def test_a_row_of_a_database_is_refused() -> None:
    models: Any = pytest.importorskip("django.db.models")
    settings = pytest.importorskip("django.conf").settings
    from sqlalchemy import Column, Integer
    from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass

    if not settings.configured:
        settings.configure()
    pytest.importorskip("django").setup()

    class Base(DeclarativeBase): ...

    class User(Base):
        __tablename__ = "user"
        id = Column(Integer, primary_key=True)

    class Plain(MappedAsDataclass, Base):
        __tablename__ = "plain"
        id = Column(Integer, primary_key=True)

    class Order(models.Model):  # type: ignore[misc]  # Django has no types
        class Meta:
            app_label = "no_app_of_the_other_tests"

    task = app.task(name="any")(anything)
    for row in (User(id=1), Order(id=1), [User(id=1)]):
        with pytest.raises(BadArguments, match=r"argument 'row'.*pass its id"):
            task.enqueue(row)
    with pytest.raises(BadArguments, match="argument 'row'"):
        task.enqueue(Plain())
    for kind in (User, Plain, Order, list[Plain]):
        anything.__annotations__["row"] = kind
        with pytest.raises(ConfigError, match="such as its id"):
            app.task(name="any")(anything)
    anything.__annotations__["row"] = Any


def test_jobs_of_a_schedule_have_the_retries_and_timeout_of_its_call() -> None:
    task = app.task(name="ticks")(function).using(retries=2, timeout="5s")
    made = scheduled(task, every("1m"), {}, declared=False)
    assert made.job(0.0).headers == {"retries": "2", "timeout": "5.0", "schedule": "ticks"}


def test_two_functions_cannot_share_a_name() -> None:
    mine = Longboat("memory://")
    mine.task(name="same")(function)
    mine.task(name="same")(function)
    with pytest.raises(ConfigError, match="two tasks are named 'same'"):
        mine.task(name="same")(coroutine)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(Longboat("redis://user:secret@host"))
    with pytest.raises(ConfigError) as caught:
        connect("mysql://user:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0, 0),
        (1.5, 1.5),
        ("30s", 30),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("2 d", 172800),
        ("7", 7),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations(written: Any, meant: float) -> None:
    assert seconds(written) == meant


@pytest.mark.parametrize("written", [-1, "-1s", "s", "", "1 fortnight", True, None, float("inf"), "nan"])
def test_no_durations(written: Any) -> None:
    with pytest.raises(ConfigError, match="wait"):
        seconds(written, "wait")


def test_pauses_double_with_chance_and_stop_growing() -> None:
    made = policy(100, 2.0)
    assert [made.delay(n, 0.0) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert made.delay(3, 0.999999) == pytest.approx(8.0, rel=1e-5)
    assert made.delay(100, 0.0) == LONGEST / 2
    assert made.delay(101, 0.0) is None


def test_given_pauses_are_kept_exactly() -> None:
    made = policy(3, ["1s", "5s"])
    assert [made.delay(n, 0.5) for n in (1, 2, 3, 4)] == [1.0, 5.0, 5.0, None]
