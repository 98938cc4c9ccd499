"""Finds the app that is meant, and imports it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from longboat.app import Longboat
from longboat.errors import AppNotFound

USUAL = ("tasks.py", "app.py", "main.py")
"""Files that are tried in the working directory if nothing names an app, in this order, if they mention Longboat."""

HOW = (
    "Name it as module:attribute or path/file.py:attribute: as an argument, in LONGBOAT_APP, "
    "or as `app` in [tool.longboat] of pyproject.toml."
)
DJANGO = "longboat.contrib.django.setup:app"
"""The app of a Django project, which DJANGO_SETTINGS_MODULE names."""
DJANGO_HOW = " A Django project? Run `python manage.py longboat worker`, or set DJANGO_SETTINGS_MODULE."
_OURS = str(Path(__file__).parent.parent)


def find(spec: str | None) -> tuple[Longboat, str]:
    """The app that `spec` names ("module:attribute", "path/file.py:attribute", or without the attribute), and its full spec.

    Without a spec, the app is the one that `configured` names, else the one in the first of USUAL that has one. The working
    directory (for a file, its package's parent) becomes first on sys.path. Raises AppNotFound with two lines: what is
    wrong, and what to do.
    """
    found = look() if spec is None else _by(spec)
    if found is None:
        files = f"{', '.join(USUAL[:-1])} or {USUAL[-1]}"
        _refuse(f"no app is named, and no {files} in {os.getcwd()} has one", HOW + DJANGO_HOW * os.path.isfile("manage.py"))
    return found


def find_all(specs: Sequence[str], include: Sequence[str]) -> list[Longboat]:
    """The apps that the specs name, each once; without specs the one that `find` finds.

    A spec may also be a module with tasks of an app that another spec names. `include`: further modules or files with
    tasks; they go with the first app. Raises AppNotFound.
    """
    if not specs:
        found = [find(None)[0]]
    else:
        _first_on_path(os.getcwd())
        named = [_named(spec)[0] for spec in specs]
        found = list(dict.fromkeys(app for app in named if app is not None))
        if not found:
            _refuse_empty(specs[0])
        found[0].registry.modules += [_module(spec) for spec, app in zip(specs, named, strict=True) if app is None]
    modules = [_module(place) for place in include]
    for name, place in zip(modules, include, strict=True):
        _imported(name, place)
    found[0].registry.modules += modules
    found[0].load()
    return found


def look() -> tuple[Longboat, str] | None:
    """Like `find` without a spec, but None if nothing names an app and none is here."""
    named = configured()
    if named is not None:
        return _by(named[0])
    _first_on_path(os.getcwd())
    for name in USUAL:
        if _mentions_us(Path(name)):
            app, full = _named(name)
            if app is not None:
                return app, full
    return None


def _by(spec: str) -> tuple[Longboat, str]:
    _first_on_path(os.getcwd())
    app, full = _named(spec)
    if app is None:
        _refuse_empty(spec)
    return app, full


def _refuse_empty(spec: str) -> NoReturn:
    _refuse(f"there is no Longboat app in {spec!r}", f"Create one there (app = Longboat()), or name another. {HOW}")


def configured() -> tuple[str, str] | None:
    """The spec from the environment or pyproject.toml, and what named it; None if nothing does."""
    spec = os.environ.get("LONGBOAT_APP")
    if spec:
        return spec, "LONGBOAT_APP"
    spec = _configured_here()
    if spec:
        return spec, "pyproject.toml"
    return (DJANGO, "DJANGO_SETTINGS_MODULE") if os.environ.get("DJANGO_SETTINGS_MODULE") else None


def _configured_here() -> str | None:
    try:
        settings = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _refuse(f"pyproject.toml cannot be read: {error}", "Correct it, or name the app as an argument or in LONGBOAT_APP.")
    table = settings.get("tool", {}).get("longboat", {})
    spec = table.get("app") if isinstance(table, dict) else None
    if spec is None:
        return None
    if not isinstance(spec, str) or not spec:
        _refuse(f"[tool.longboat] app is {spec!r} in pyproject.toml", 'Write app = "module:attribute" there.')
    return spec


def _mentions_us(path: Path) -> bool:
    """Importing a program that has nothing to do with Longboat could do anything."""
    try:
        return b"longboat" in path.read_bytes()
    except OSError:
        return False


def _named(spec: str) -> tuple[Longboat | None, str]:
    """The app of a spec, with what it includes, and its full spec; None if the module has no app."""
    place, _, attribute = spec.partition(":")
    name, shown = _module_of(place) if place.endswith(".py") else (place, place)
    module = _imported(name, spec)
    if not attribute:
        attribute = _only_app(module, spec)
        if not attribute:
            return None, spec
    value: object = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, Longboat):
        _refuse(
            f"{attribute!r} in {place} is {'missing' if value is None else 'not a Longboat app'}; {_there_are(module)}", HOW
        )
    modules = value.registry.modules
    for included in modules:
        _imported(included, included)
    if name not in modules:
        modules.insert(0, name)  # in child processes too it comes first: it may set up what the others need
    value.load()
    return value, f"{shown}:{attribute}"


def _module(place: str) -> str:
    """The module's name in a spec or for a file."""
    place = place.partition(":")[0]
    return _module_of(place)[0] if place.endswith(".py") else place


def _module_of(place: str) -> tuple[str, str]:
    """The module's name for a file, whose folder (for a package, its parent) becomes first on sys.path.

    Also what to call it in a spec: its name if it is directly in the working directory, else the file's full path.
    """
    path = Path(place).resolve()
    if not path.is_file():
        _refuse(f"there is no file {path}", f"Check the path. {HOW}")
    parts, folder = [path.stem], path.parent
    if path.stem == "__init__":
        parts, folder = [folder.name], folder.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    _first_on_path(str(folder))
    return name, name if str(folder) == os.path.realpath(os.getcwd()) else str(path)


def _first_on_path(folder: str) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _imported(name: str, spec: str) -> ModuleType:
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        _refuse(f"{spec!r} names no app", HOW)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            _refuse(f"there is no module {error.name!r} in {os.getcwd()} or on the Python path", f"Check {spec!r}. {HOW}")
        _refuse_import(spec, error)
    except AppNotFound:  # it says itself what is missing
        raise
    except (Exception, SystemExit) as error:  # this runs user code
        _refuse_import(spec, error)


def _refuse_import(spec: str, error: BaseException) -> NoReturn:
    reason = traceback.format_exception_only(error)[-1].strip()
    what, advice = f"the app {spec!r}", "Correct that, then start again."
    if spec == DJANGO:  # a name that nobody has written
        settings = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        what = f"the Django project of DJANGO_SETTINGS_MODULE={settings} in {os.getcwd()}"
        if isinstance(error, ModuleNotFoundError) and error.name and f"{settings}.".startswith(f"{error.name}."):
            advice = "Correct DJANGO_SETTINGS_MODULE, or start in the folder that has manage.py."
    raise AppNotFound(f"{what} cannot be imported: {reason}{_where(error)}\n{advice}") from error


def _where(error: BaseException) -> str:
    """The innermost place in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", _OURS)) and not _installed(frame.filename)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f" ({last.filename}, line {last.lineno}: {last.line})"


def _installed(filename: str) -> bool:
    return "site-packages" in filename or os.path.dirname(filename).startswith(os.path.dirname(os.__file__))


def _only_app(module: ModuleType, spec: str) -> str:
    """The name of the module's app; if there are several, the one called `app`; empty if there is none."""
    names = {id(app): name for name, app in reversed(list(_apps(module)))}
    if len(names) > 1 and not isinstance(getattr(module, "app", None), Longboat):
        _refuse(f"{spec!r} has several apps: {', '.join(sorted(names.values()))}", f"Say which: {spec}:name")
    if len(names) > 1:
        return "app"
    return next(iter(names.values()), "")


def _there_are(module: ModuleType) -> str:
    return f"its apps: {', '.join(name for name, _ in _apps(module)) or 'none'}"


def _apps(module: ModuleType) -> Iterator[tuple[str, Longboat]]:
    for name, value in vars(module).items():
        if isinstance(value, Longboat):
            yield name, value


def _refuse(what: str, advice: str) -> NoReturn:
    raise AppNotFound(f"{what}\n{advice}")
