"""How the dashboard's scripts get into the package: checked, or a reason that can be read."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "package.json", tmp_path)
    return tmp_path


def test_without_npm_it_says_so(build: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(source))
    with pytest.raises(build.Missing, match="no npm"):
        build.fetch(source)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm; on Debian: apt install npm")
def test_without_a_network_it_says_so_soon(build: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(source / "cache"))
    began = time.monotonic()
    with pytest.raises(build.Missing, match="ECONNREFUSED"):
        build.fetch(source)
    assert time.monotonic() - began < 60, "npm tries for minutes by itself"
    assert not (source / build.VENDOR).exists()


def test_a_file_that_is_not_what_it_should_be_is_not_kept(
    build: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in build.FILES:
        (source / build.VENDOR).mkdir(parents=True, exist_ok=True)
        (source / build.VENDOR / name).write_text("another")
    monkeypatch.setenv("PATH", str(source))
    with pytest.raises(build.Missing):
        build.fetch(source)


def test_the_licences_travel_with_the_scripts(build: ModuleType) -> None:
    assert {"uPlot.LICENSE"} <= build.FILES.keys()
