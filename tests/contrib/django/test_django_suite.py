"""Django's own tests of django.tasks, which its source distribution carries, run against Longboat's backend.

With the django-tasks backport they are run too: it has the same names in another place, and no tests in its distribution.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

from longboat.contrib.django.compat import PACKAGE
from tests.contrib.django.suite.run import BACKENDS

VERSION = django.__version__ if PACKAGE == "django.tasks" else "6.1.3"
ROOT = Path(__file__).parents[3]
OTHER_NAMES = {"django.tasks": "django_tasks", r"InvalidTask(Backend)?\b": r"InvalidTask\1Error"}
"""What the backport calls things."""
OTHER_WORDS = {"async Tasks": "async tasks"}


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest) -> Path:
    """Django's source distribution, which pip gets once."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("django-source")
    found = folder / f"django-{VERSION}.tar.gz"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python"]
        command += ["--no-binary", "django", "--dest", str(folder), f"django=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if not found.exists():
            pytest.skip(f"pip cannot get Django's source, which has its tests: {done.stderr.strip()[-300:]}")
    return found


@pytest.fixture
def theirs(source: Path, tmp_path: Path) -> Path:
    """A folder with their tests, where our backends stand for the two of Django."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    with tarfile.open(source) as archive:
        for member in archive.getmembers():
            if re.fullmatch(r"django-[^/]*/tests/tasks/\w+\.py", member.name):
                file = archive.extractfile(member)
                assert file is not None
                (folder / Path(member.name).name).write_text(_ours(file.read().decode()))
    return tmp_path


def _ours(text: str) -> str:
    text = re.sub(r"django\.tasks\.backends\.(dummy|immediate)\b", BACKENDS, text)
    if PACKAGE != "django.tasks":
        for name, other in (OTHER_NAMES | OTHER_WORDS).items():
            text = re.sub(name, other, text)
    return text


@pytest.mark.slow
def test_djangos_own_tests_pass(theirs: Path) -> None:
    command = [sys.executable, "-m", "tests.contrib.django.suite.run", str(theirs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == {}, "\n".join(told["wrong"].values())
    print(f"{told['ran']} of Django's tests passed, {told['left_out']} do not apply")
    assert told["unused"] == []
    assert told["ran"] >= 60
