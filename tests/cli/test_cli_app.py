"""Which app the command line finds, and what it says when it finds none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from longboat import Longboat
from tests.rigs.cli import TASKS, Shell, project

pytestmark = pytest.mark.slow


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return project(tmp_path)


APP = "from longboat import Longboat\n{name} = Longboat('sqlite:///{file}.db')\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(shell: Shell, **env: str) -> str:
    """The spec that a doctor tells of."""
    lines = shell.run("doctor", env=env).out.splitlines()
    return next(line for line in lines if line.startswith("app ")).removeprefix("app").strip()


def test_the_order_of_places(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert found(shell).startswith("none")
    for name, file in (("main", "main"), ("app", "app"), ("tasks", "tasks")):
        write(tmp_path / f"{file}.py", APP.format(name="app", file=file))
        assert found(shell) == f"{name}:app (found in the working directory)"
    write(tmp_path / "pyproject.toml", "[tool.longboat]\napp = 'shop.jobs:queue'\n")
    write(tmp_path / "shop" / "jobs.py", APP.format(name="queue", file="shop"))
    assert found(shell) == "shop.jobs:queue (pyproject.toml)"
    assert found(shell, LONGBOAT_APP="app") == "app:app (LONGBOAT_APP)"


def test_the_app_gives_the_url(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    write(tmp_path / "tasks.py", APP.format(name="app", file="of_the_app"))
    assert "of_the_app.db" in shell.fails("queues", status=4).err
    assert "elsewhere.db" in shell.fails("queues", status=4, env={"LONGBOAT_URL": "sqlite:///elsewhere.db"}).err
    assert "here.db" in shell.fails("queues", "--url", "sqlite:///here.db", status=4).err
    (tmp_path / "tasks.py").unlink()
    assert "longboat.db" in shell.fails("queues", status=4).err


WHERE = """
import os
from longboat import Longboat
app = Longboat({code})

@app.task(executor="process")
def child() -> str:
    return "".join(app.url)

@app.task
def thread() -> str:
    return child.enqueue().result(timeout=30)
"""


@pytest.mark.parametrize(
    ("code", "variable", "option", "origin"),
    [
        ("", "", "", "the app's"),
        ("code", "", "", "the app's"),
        ("code", "variable", "", "LONGBOAT_URL"),
        ("code", "variable", "option", "--url"),
    ],
)
def test_one_rule_for_the_url(code: str, variable: str, option: str, origin: str, tmp_path: Path) -> None:
    """--url, then the variable, then the code: of every command, and of the code in its processes."""
    url = f"sqlite:///{option or variable or code or 'longboat'}.db"
    write(tmp_path / "tasks.py", WHERE.format(code=repr(f"sqlite:///{code}.db") if code else ""))
    env = {"LONGBOAT_URL": f"sqlite:///{variable}.db"} if variable else {}
    shell, given = Shell(tmp_path), ["--url", url] if option else []
    told = shell.run("doctor", *given, env=env).out
    assert f"{url.removeprefix('sqlite:///')} ({origin})" in told
    assert ("the app uses" in told) == bool(option), "what is told without it goes elsewhere"
    job_id = shell.run("enqueue", "tasks.thread", *given, env=env).out.strip()
    shell.run("worker", *given, "--burst", env=env)
    assert shell.run("result", job_id, *given, env=env).out.strip() == url.replace("///", f"///{tmp_path}/")
    assert [path.name for path in tmp_path.glob("*.db")] == [url.removeprefix("sqlite:///")]


def test_programs_without_longboat_are_not_imported(tmp_path: Path) -> None:
    write(tmp_path / "main.py", "open('imported', 'w').close()\n")
    Shell(tmp_path).fails("worker", status=3)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    "spec",
    ["tasks:app", "tasks", "tasks.py", "tasks.py:app", "shop/deep/jobs.py", "shop.deep.jobs:app", "outside/alone.py:app"],
)
def test_an_app_runs_wherever_it_is(spec: str, shell: Shell) -> None:
    """Also its child processes find it, which import its module by name."""
    write(shell.folder / "shop" / "__init__.py", "")
    write(shell.folder / "shop" / "deep" / "__init__.py", "")
    write(shell.folder / "shop" / "deep" / "names.py", "NAME = 'x'\n")
    write(shell.folder / "shop" / "deep" / "jobs.py", "from shop.deep.names import NAME\n" + TASKS)
    write(shell.folder / "outside" / "alone.py", TASKS)
    module = "tasks" if "tasks" in spec else "shop.deep.jobs" if "shop" in spec else "alone"
    job_id = shell.run("enqueue", f"{module}.pid", "--url", "sqlite:///longboat.db").out.strip()
    shell.run("worker", spec, "--burst")
    assert int(shell.run("result", job_id, "--url", "sqlite:///longboat.db").out) > 1


@pytest.mark.parametrize(
    ("text", "spec", "said"),
    [
        (
            "import no_such_thing\n",
            "tasks",
            "ModuleNotFoundError: No module named 'no_such_thing' ({file}, line 1: import no_such",
        ),
        ("def f():\n    1 / 0\n\nf()\n", "tasks:app", "ZeroDivisionError: division by zero ({file}, line 2: 1 / 0)"),
        ("import json\njson.loads('[')\n", "tasks:app", "line 2: json.loads('[')"),
        ("x = = 1\n", "tasks.py", "SyntaxError: invalid syntax ({file}, line 1)"),
        ("import sys\nsys.exit('bye')\n", "tasks", "SystemExit: bye"),
        ("from longboat import Longboat\na = Longboat()\nb = Longboat()\n", "tasks", "several apps: a, b"),
        ("x = 1\n", "tasks", "no Longboat app in 'tasks'"),
        ("x = 1\n", "tasks:x", "'x' in tasks is not a Longboat app"),
        ("x = 1\n", "tasks:y", "'y' in tasks is missing"),
        ("x = 1\n", "task:app", "there is no module 'task'"),
        ("x = 1\n", "tasks.more:app", "there is no module 'tasks.more'"),
        ("x = 1\n", "no/such.py", "there is no file"),
        ("x = 1\n", "tasks app", "names no app"),
    ],
)
def test_an_app_that_cannot_be_had_is_two_lines_and_status_3(text: str, spec: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(text)
    done = Shell(tmp_path).fails("worker", spec, status=3)
    assert said.format(file=file) in done.err.splitlines()[0]


def test_no_app_at_all(tmp_path: Path) -> None:
    err = Shell(tmp_path).fails("worker", status=3).err
    assert "no app is named" in err
    assert "LONGBOAT_APP" in err.splitlines()[1]


def test_a_broken_app_is_not_passed_over(tmp_path: Path) -> None:
    """Or the jobs of another file would be shown as its own."""
    shell = Shell(tmp_path)
    write(tmp_path / "tasks.py", "import longboat, no_such_thing\n")
    assert "--url" in shell.fails("queues", status=3).err
    shell.fails("enqueue", "tasks.add", "1", "2", status=3)
    shell.fails("queues", "--url", "sqlite:///x.db", status=4)
    write(tmp_path / "pyproject.toml", "[tool.longboat\n")
    assert "pyproject.toml" in shell.fails("queues", status=3).err


def test_the_app_called_app_of_several_and_one_of_two_names(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    write(tmp_path / "tasks.py", "from longboat import Longboat\nother = Longboat()\napp = Longboat()\n")
    assert found(shell).startswith("tasks:app ")
    write(tmp_path / "tasks.py", "from longboat import Longboat\nmail = post = Longboat()\n")
    assert found(shell).startswith("tasks:mail ")


def test_what_find_gives_can_be_found_again(tmp_path: Path) -> None:
    write(tmp_path / "here" / "one.py", APP.format(name="app", file="x"))
    write(tmp_path / "there" / "two.py", APP.format(name="app", file="x"))
    code = (
        "from longboat.cli import locate\n"
        "app, spec = locate.find({!r})\nassert locate.find(spec) == (app, spec)\nprint(spec)"
    )
    for given, full in (("one.py", "one:app"), ("../there/two.py", f"{tmp_path}/there/two.py:app")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(given)], cwd=tmp_path / "here", capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == full, done.stderr


MORE = """
from tasks import app

@app.task(executor="process")
def twice(n: int) -> int:
    return 2 * n
"""


@pytest.mark.parametrize(
    ("include", "arguments", "env"),
    [
        ("include=['more']", ["tasks:app"], {}),
        ("", ["tasks:app", "--include", "more"], {}),
        ("", ["tasks:app", "--include", "more.py"], {}),
        ("", ["tasks", "more"], {}),
        ("", [], {"LONGBOAT_WORKER_INCLUDE": "more"}),
        ("include='more'", [], {}),
    ],
)
def test_tasks_of_further_modules_run(include: str, arguments: list[str], env: dict[str, str], tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    write(tmp_path / "tasks.py", f"from longboat import Longboat\napp = Longboat({include})\n")
    write(tmp_path / "more.py", MORE)
    job_id = shell.run("enqueue", "more.twice", "21", "--url", shell.url).out.strip()
    shell.run("worker", *arguments, "--burst", env=env)
    assert shell.run("result", job_id).out == "42\n"
    if include:
        assert shell.run("enqueue", "more.twice", "x", status=2).err.startswith("Error: task 'more.twice': argument 'n'")


def test_functions_without_a_decorator_run(tmp_path: Path) -> None:
    """Those of the modules that the worker was given; others wait, and it is said how they would run."""
    shell = Shell(tmp_path)
    write(
        tmp_path / "tasks.py",
        "from longboat import Longboat\napp = Longboat(include=['more'])\n"
        "def one(n: int) -> int:\n    return n + 1\ndef _private() -> None: ...\ndef many():\n    yield 1\n",
    )
    write(tmp_path / "more.py", "async def two(n: int) -> int:\n    return n + 2\n")
    write(tmp_path / "other.py", "def three(n: int) -> int:\n    return n + 3\n")
    write(
        tmp_path / "program.py",
        "import more, other, tasks\n"
        "for function in (tasks.one, more.two, other.three):\n    print(tasks.app.enqueue(function, 40).id)\n"
        "for name in ('tasks._private', 'tasks.many', 'os.getpid'):\n    print(tasks.app.send(name).id)\n",
    )
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    one, two, *others = done.stdout.split()
    assert shell.run("worker", "--burst").err.count("cannot run here") == 3
    assert [shell.run("result", each).out for each in (one, two)] == ["41\n", "42\n"]
    states = [shell.run("jobs", "show", each).out.split()[3] for each in others]
    assert states == ["waiting", "waiting", "dead", "waiting"]
    named = shell.run("enqueue", "tasks.one", "1").out.strip()
    shell.run("worker", "--include", "other", "--burst")
    assert [shell.run("result", each).out for each in (others[0], named)] == ["43\n", "2\n"]


def test_a_child_process_imports_what_the_worker_imported(tmp_path: Path) -> None:
    """In that order, as an app that sets something up before its tasks are imported needs."""
    shell = Shell(tmp_path)
    write(tmp_path / "ready.py", "READY = []\n")
    write(
        tmp_path / "tasks.py",
        "import ready\nfrom longboat import Longboat\nready.READY.append(1)\napp = Longboat(include=['jobs'])\n",
    )
    write(
        tmp_path / "jobs.py",
        "import ready\nif not ready.READY: raise RuntimeError('not set up')\n"
        "def task(f):\n    import tasks\n    return tasks.app.task(executor='process')(f)\n"
        "@task\ndef count() -> int:\n    return len(ready.READY)\n",
    )
    job_id = shell.run("enqueue", "jobs.count").out.strip()
    shell.run("worker", "--burst")
    assert shell.run("result", job_id).out == "1\n"


def test_several_apps_on_one_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for name, file in (("one", "jobs"), ("two", "jobs"), ("three", "other")):
        text = APP.format(name="app", file=file) + f"@app.task\ndef say() -> str:\n    return {name!r}\n"
        write(tmp_path / f"{name}.py", text)
    ids = [shell.run("enqueue", f"{name}.say", "--url", "sqlite:///jobs.db").out.strip() for name in ("one", "two")]
    shell.run("worker", "one:app", "two.py", "--burst")
    assert [shell.run("result", each, "--url", "sqlite:///jobs.db").out for each in ids] == ["one\n", "two\n"]
    said = shell.fails("worker", "one:app", "three:app", "--burst", status=3).err
    assert "jobs.db" in said
    assert "other.db" in said


def test_parked_jobs_are_told_once_with_what_to_do(tmp_path: Path) -> None:
    shell = project(tmp_path)
    shell.run("enqueue", "tasks.add", "1", "2")
    with Longboat(shell.url) as app:
        app.named("shop.more.twice").enqueue_many([(n,) for n in range(100)])
    lines = [line for line in shell.run("worker", "--burst").err.splitlines() if "WARNING" in line]
    found = [re.search(r"WARNING longboat.worker: (\d+) jobs? of shop.more.twice cannot run here", line) for line in lines]
    assert sum(int(each[1]) for each in found if each) == 100, lines
    assert len(lines) <= 2, "those of the first second, and at the end those that came later"
    assert "knows tasks.add, tasks.boom" in lines[0]
    assert "--include shop.more" in lines[0]
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop" / "more.py", MORE)
    shell.run("worker", "--include", "shop.more", "--burst")  # it tells what it knows
    shell.run("enqueue", "shop.more.twice", "1", "--url", shell.url)
    assert "one of which has told that it knows the task" in shell.run("worker", "--burst").err
