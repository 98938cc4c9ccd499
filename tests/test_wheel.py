"""What users install: the package builds, carries what it needs and nothing else, and runs in environments of its own."""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE_BY_NPM = {"uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"}
TASKS = """
from longboat import Longboat

app = Longboat()


@app.task(executor="process")
def add(a: int, b: int) -> int:
    return a + b
"""

SMALL_DEMO = """
import os.path, sysconfig, sys
place = sysconfig.get_path
sysconfig.get_path = lambda name: os.path.join(place(name), "asyncio" if name == "stdlib" else "")
from longboat.cli.main import main
sys.argv = ["longboat", "demo"]
sys.exit(main())
"""
"""The demo on one package of the standard library; tests/cli/test_demo_runs.py runs it on all."""

pytestmark = pytest.mark.slow


VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@functools.cache
def interpreters() -> dict[str, str]:
    """The program of each of these Pythons that is on this machine."""
    said = subprocess.run([ROOT / "tools" / "environment", "others"], capture_output=True, text=True, check=True).stdout
    found = dict(line.split(" ", 1) for line in said.splitlines())
    found["{}.{}".format(*sys.version_info)] = sys.executable
    return {version: found[version] for version in VERSIONS if version in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution that it was built from, once for all processes of the test run."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "built"
    with (place / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], place)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def run(command: list[str], folder: Path, seconds: float = 170) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LONGBOAT_", "PYTHON", "COV"))}
    done = subprocess.run(
        command, cwd=folder, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_package_carries_what_it_needs_and_nothing_else(built: tuple[Path, Path]) -> None:
    wheel, source = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = message_from_bytes(archive.read(metadata))
    tracked = run(["git", "ls-files", "src"], ROOT).split()
    info = metadata.removesuffix("METADATA")
    vendor = {f"longboat/dashboard/static/vendor/{name}" for name in MADE_BY_NPM}
    about = {f"{info}{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert names == {name.removeprefix("src/") for name in tracked} | vendor | about
    assert "longboat/py.typed" in names
    assert said["Requires-Python"] == ">=3.11"
    assert {f"Programming Language :: Python :: {version}" for version in VERSIONS} <= {*said.get_all("Classifier", [])}
    assert {"Typing :: Typed", "Framework :: AsyncIO"} <= {*said.get_all("Classifier", [])}
    core = [each for each in said.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(each.split(">")[0] for each in core) == ["click", "cronsim", "msgspec"]
    with tarfile.open(source) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert {f"src/{name}" for name in vendor} | {*tracked, "hatch_build.py", "package.json", "LICENSE"} <= inside
    assert not {name for name in inside if "__pycache__" in name or ".db" in name or ".venv" in name}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", VERSIONS)
def test_it_runs_in_an_environment_of_its_own(version: str, built: tuple[Path, Path], tmp_path: Path) -> None:
    """On the newest Python with all extras and the demo, on the others with nothing but itself."""
    if (python := interpreters().get(version)) is None:
        pytest.skip(f"there is no Python {version} here")
    newest = version == [*interpreters()][-1]
    run([python, "-m", "venv", "--without-pip", "env"], tmp_path)
    pip = [sys.executable, "-m", "pip", "--python", "env/bin/python", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, f"{built[0]}{'[all]' if newest else ''}"], tmp_path)
    longboat = str(tmp_path / "env" / "bin" / "longboat")
    (tmp_path / "tasks.py").write_text(TASKS)
    worker = subprocess.Popen([longboat, "worker", "--log-level", "warning"], cwd=tmp_path, stdin=subprocess.DEVNULL)
    try:
        assert run([longboat, "enqueue", "tasks.add", "2", "3", "--wait", "--timeout", "60s"], tmp_path).strip() == "5"
        assert "healthy" in run([longboat, "doctor"], tmp_path)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
    if newest:
        assert "The worker's report is equal to the plain loop's." in run(["env/bin/python", "-c", SMALL_DEMO], tmp_path)
        assert says_its_link([longboat, "dashboard", "--port", "0"], tmp_path)


def says_its_link(command: list[str], folder: Path) -> bool:
    """Whether the dashboard says where it is, and nothing of missing scripts before."""
    shown = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert shown.stdout is not None
        line = shown.stdout.readline()
        shown.terminate()
        shown.communicate(timeout=20)
    finally:
        shown.kill()
        shown.communicate()
    return line.startswith("dashboard of ") and "?token=" in line
