"""What only child processes can do: die, be killed, be replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from longboat.core.job import Failure
from longboat.core.reasons import UNKNOWN_TASK
from longboat.executors import child_link, processes, spawner
from longboat.executors.contract import KILLED, TIMEOUT, Call, CallEnd
from longboat.executors.wire import ChildSettings
from longboat.tasks.task import Task
from tests.apps import executor_tasks as tasks
from tests.rigs.executor import Rig, rigged, until


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rigged("process") as rig:
        yield rig


@pytest.fixture
def single() -> Iterator[Rig]:
    with rigged("process", slots=1) as rig:
        yield rig


def pids(rig: Rig, count: int = 2) -> set[int]:
    """The ids of all children."""
    found: set[int] = set()
    while len(found) < count:
        calls = [rig.call(tasks.span, 0.02) for _ in range(count)]
        found = {rig.result(rig.submit(tasks.pid)) for _ in range(5)}
        rig.executor.submit(calls)
        found |= {rig.result(call) for call in [rig.submit(tasks.pid) for _ in range(8)]}
    return found


def killed(rig: Rig, call: Call) -> Failure:
    reply = rig.reply(call)
    assert (reply.ending, reply.again) == (CallEnd.KILLED, True)
    assert reply.failure is not None
    assert reply.failure.type == KILLED
    return reply.failure


def test_where_a_child_is_is_told_even_in_c(single: Rig, tmp_path: Path) -> None:
    call = single.begin(tasks.bury_in_c, tmp_path / "begun")
    assert "in bury_in_c" in single.executor.stack(call)
    single.executor.kill(call)
    single.reply(call)


# --- death


@pytest.mark.parametrize(
    ("how", "text"),
    [("kill", "killed by signal 9 (SIGKILL), perhaps"), ("exit", "exited with status 3"), ("segfault", "11 (SIGSEGV)")],
)
def test_a_death_is_told_of_the_call_that_ran(rig: Rig, how: str, text: str) -> None:
    assert text in killed(rig, rig.submit(tasks.die, how)).message
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3
    assert not rig.executor.worn


def test_a_deaths_neighbours_run_once_and_are_not_blamed(rig: Rig, tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    rig.executor.submit([rig.call(tasks.log, path, "warm") for _ in range(300)])
    rig.wait(300)  # now it is known as a quick task, and sent in batches
    calls = [rig.call(tasks.log, path, str(n)) for n in range(400)]
    pills = [rig.call(tasks.die, how) for how in ("kill", "exit") * 4]
    rig.executor.submit([call for n in range(8) for call in [*calls[n * 50 : n * 50 + 50], pills[n]]])
    for pill in pills:
        killed(rig, pill)
    assert {rig.reply(call).ending for call in calls} == {CallEnd.RETURNED}
    lines = [line for line in Path(path).read_text().split() if line != "warm"]
    assert sorted(map(int, lines)) == list(range(400))


def test_calls_that_kill_every_new_child_are_not_taken_for_failed_starts(rig: Rig) -> None:
    pills = [rig.call(tasks.die, "exit") for _ in range(10)]
    after = [rig.call(tasks.add, n, 1) for n in range(10)]
    rig.executor.submit([*pills, *after])
    for pill in pills:
        killed(rig, pill)
    assert [rig.result(call) for call in after] == list(range(1, 11))


def test_a_child_that_dies_idle_is_replaced_within_a_second(rig: Rig) -> None:
    before = pids(rig)
    os.kill(min(before), signal.SIGKILL)
    due = time.monotonic() + 1
    assert len(pids(rig) | before) == 3
    assert time.monotonic() < due


def test_a_grandchild_that_holds_the_socket_open_hides_no_death(rig: Rig, tmp_path: Path) -> None:
    call = rig.submit(tasks.fork_and_die, str(tmp_path / "release"))
    assert "status 3" in killed(rig, call).message
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3
    (tmp_path / "release").touch()


def test_a_grandchild_that_returns_from_the_task_says_nothing(rig: Rig) -> None:
    for _ in range(10):
        assert rig.result(rig.submit(tasks.fork_and_return)) == "parent"


def test_a_task_that_closes_every_descriptor_costs_its_own_child_only(rig: Rig) -> None:
    killed(rig, rig.submit(tasks.close_all))
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3


def test_a_task_that_closes_the_standard_streams_hurts_nobody(single: Rig) -> None:
    for _ in range(2):
        assert single.run(tasks.close_standard).ending in (CallEnd.RETURNED, CallEnd.RAISED)
    assert single.result(single.submit(tasks.add, 1, 2)) == 3


def test_the_fork_servers_death_is_overcome(rig: Rig) -> None:
    before = pids(rig)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # typeshed leaves it out
    os.kill(server, signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(pid) for pid in before))
    until(lambda: not pids(rig) & before)


def test_signals_for_the_whole_group_leave_children_running(rig: Rig, tmp_path: Path) -> None:
    children = pids(rig)
    call = rig.begin(tasks.hold, tmp_path / "begun", str(tmp_path / "release"))
    for pid in (*children, forkserver._forkserver._forkserver_pid):  # type: ignore[attr-defined]  # typeshed leaves it out
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    (tmp_path / "release").touch()
    assert rig.result(call) == "released"
    assert pids(rig) == children


def test_what_tasks_start_can_be_terminated(rig: Rig) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert rig.result(rig.submit(tasks.start_child, command)) == -signal.SIGTERM
    assert rig.result(rig.submit(tasks.fork_child)) == -signal.SIGTERM


# --- stop and kill


def test_a_stop_does_not_change_the_child(single: Rig, tmp_path: Path) -> None:
    before = pids(single, 1)
    call = single.begin(tasks.swallow, tmp_path / "begun")
    single.executor.stop(call, CallEnd.TIMEOUT)
    assert single.result(call) == "caught"
    assert pids(single, 1) == before


def test_c_code_that_holds_the_gil_is_killed(single: Rig, tmp_path: Path) -> None:
    call = single.begin(single.task(tasks.bury_in_c, timeout=1), tmp_path / "begun")
    after = single.submit(tasks.add, 1, 2)
    single.executor.stop(call, CallEnd.TIMEOUT)
    single.executor.kill(call)
    reply = single.reply(call, 3)
    assert reply.ending is CallEnd.TIMEOUT
    assert reply.failure is not None
    assert reply.failure.type == TIMEOUT
    assert "timeout of 1 s; it was still running" in reply.failure.message
    assert "its process was killed" in reply.failure.message
    assert single.result(after) == 3


def test_no_call_waits_behind_a_slow_one_while_a_child_idles(rig: Rig, tmp_path: Path) -> None:
    rig.executor.submit([rig.call(tasks.nap, "") for _ in range(500)])
    rig.wait(500)  # it seems to be a quick task
    slow = rig.call(tasks.nap, str(tmp_path / "release"))
    quick = [rig.call(tasks.nap, "") for _ in range(100)]
    rig.executor.submit([slow, *quick])
    assert {rig.reply(call).ending for call in quick} == {CallEnd.RETURNED}
    assert slow not in [call for call, _ in rig.replies]
    (tmp_path / "release").touch()
    rig.reply(slow)


# --- children come and go


def test_calls_behind_one_that_made_its_child_too_large_run_in_the_next_child() -> None:
    with rigged("process", slots=1, settings=ChildSettings(150 << 20)) as rig:
        assert rig.run(tasks.grow, 1).ending is CallEnd.RETURNED
        calls = [rig.call(tasks.grow, 1 if n % 10 else 200) for n in range(40)]
        rig.executor.submit(calls)
        found = [rig.result(call) for call in calls]
        assert [found.count(pid) for pid in dict.fromkeys(found)] == [1, 10, 10, 10, 9]


def test_a_child_that_takes_too_much_memory_is_replaced() -> None:
    with rigged("process", slots=1, settings=ChildSettings(150 << 20)) as rig:
        small = [rig.result(rig.submit(tasks.grow, 1)) for _ in range(3)]
        assert len(set(small)) == 1
        assert rig.result(rig.submit(tasks.grow, 200)) == small[0]
        assert rig.result(rig.submit(tasks.pid)) != small[0]
        until(lambda: not psutil.pid_exists(small[0]))


def test_close_leaves_no_child_behind(tmp_path: Path) -> None:
    with rigged("process") as rig:
        children = pids(rig)
        rig.begin(tasks.bury_in_c, tmp_path / "begun")
        rig.executor.close(0)
        assert not any(psutil.pid_exists(pid) for pid in children)


def test_big_arguments_and_results_pass(rig: Rig) -> None:
    data = [bytes([n]) * 900_000 for n in range(30)]
    calls = [rig.call(tasks.echo, item) for item in data]
    rig.executor.submit(calls)
    assert [rig.result(call) for call in calls] == data


# --- finding the function


def test_a_function_that_cannot_be_found_in_a_child_is_refused(rig: Rig) -> None:
    def local() -> None: ...

    local.__module__ = "no.such.module"
    reply = rig.run(tasks.make_task(local, "process"))
    assert (reply.ending, reply.again) == (CallEnd.REFUSED, False)
    assert reply.failure is not None
    assert reply.failure.type == UNKNOWN_TASK
    assert "No module named 'no'" in reply.failure.message
    assert "top of a module" in reply.failure.message
    assert rig.result(rig.submit(tasks.add, 1, 2)) == 3


MAIN = """
import os, sys, threading
from longboat.core import codec
from longboat.contract.broker import Lease
from longboat.executors.contract import Call
from longboat.executors.processes import ProcessExecutor
from longboat.core.job import Job
from longboat.core.retry import RetryPolicy
from longboat.tasks.task import Settings, Task
from longboat.tasks.template import Template

class Mine(Exception): pass

def double(n: int) -> int:
    if n < 0:
        raise Mine("negative")
    if n == 0:
        print(os.getpid(), flush=True)
        open(sys.argv[1], "w").close()
        return (3 ** 10**8) & 1
    return n * 2

double = Task(double, "double", Settings("process", RetryPolicy(0, 0.0), (Mine,), None), Template(), None)

def run(*numbers, slots=2):
    replies, over = {}, threading.Event()
    calls = [Call(Lease(Job(1, f"job{n}", "double", double.arguments.encode((n,), {})), 1, 1), double) for n in numbers]
    class Owner:
        def done(self, call, reply):
            replies[call] = reply
            if len(replies) == len(calls):
                over.set()
        def failed(self, part, error):
            raise error
    executor = ProcessExecutor(slots, Owner())
    executor.submit(calls)
    over.wait(60)
    return executor, [replies[call] for call in calls]
"""


def script(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(MAIN + text)
    return [sys.executable, str(path), str(tmp_path / "begun")]


def test_functions_of_the_main_module_run(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    executor, (good, bad) = run(21, -1)
    print(codec.decode(good.result), bad.failure.type, bad.failure.message, bad.again)
    executor.close(1)
"""
    command = script(tmp_path, text)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("42 __main__.Mine negative True\n", "")


def test_a_main_module_that_fails_in_children_is_told_and_not_tried_for_ever(tmp_path: Path) -> None:
    text = """
if __name__ != "__main__":
    raise RuntimeError("not here")
executor, replies = run(*range(1, 50))
print(*{(reply.ending.value, reply.failure.type, reply.again) for reply in replies})
print(replies[0].failure.message)
executor.close(1)
"""
    done = subprocess.run(script(tmp_path, text), capture_output=True, text=True, timeout=60, check=False)
    first, message = done.stdout.splitlines()
    assert first == f"('refused', '{processes.NO_CHILD}', False)"
    assert "__main__" in message
    assert 3 <= done.stderr.count("RuntimeError: not here") < 10


@pytest.mark.slow
def test_where_no_child_can_be_made_jobs_go_back_uncharged_until_one_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a read-only root without a directory for temporary files."""

    def refused(*_: object) -> None:
        raise FileNotFoundError("No usable temporary directory found")

    for module in (spawner, child_link):
        monkeypatch.setattr(module, "RawArray", refused)
    with rigged("process", 2) as rig:
        assert "TMPDIR" in caplog.text, "said at the start"
        calls = [rig.submit(tasks.add, 1, n) for n in range(5)]
        assert {rig.reply(call).ending for call in calls} == {CallEnd.UNSTARTED}
        until(lambda: rig.executor.free() == 0)
        monkeypatch.undo()
        until(lambda: rig.executor.free() == 2)
        assert rig.result(rig.submit(tasks.add, 1, 2)) == 3
    assert caplog.text.count("no child process can be made") == 1


def test_a_program_that_forgets_to_close_ends_all_the_same(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    executor, replies = run(1, 2)
    print(*sorted(link.process.pid for link in executor._links))
"""
    done = subprocess.run(script(tmp_path, text), capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    assert len(done.stdout.split()) == 2
    until(lambda: not any(psutil.pid_exists(int(pid)) for pid in done.stdout.split()))


def test_children_do_not_outlive_a_worker_that_is_killed(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    run(0, slots=2)
"""
    with subprocess.Popen(script(tmp_path, text), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        busy = psutil.Process(int(worker.stdout.readline()))
        until((tmp_path / "begun").exists)
        family = psutil.Process(worker.pid).children(recursive=True)
        assert busy in family
        assert len(family) >= 3  # and an idle one, and the fork server
        worker.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def test_a_task_made_of_a_function_that_stands_elsewhere_keeps_its_name_and_retry_on(rig: Rig) -> None:
    base = tasks.make_task(tasks.blow, "process", retry_on=(tasks.Unprintable,))
    task: Task[..., None] = Task(tasks.blow, "other name", base.settings, base.template, None)
    assert rig.run(task, "unprintable").again
    assert not rig.run(task, "memory").again
