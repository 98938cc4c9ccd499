"""What `manage.py check` says about a backend of TASKS: options that make no sense, and what its broker cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from longboat.contract.capabilities import Capability, keepers
from longboat.contrib.django import app
from longboat.contrib.django.options import check_names
from longboat.errors import BrokerError, ConfigError
from longboat.tasks.define import define

NEEDED = {
    Capability.LOOKUP: "get_result and refresh raise Unsupported",
    Capability.RESULTS: "return values are not kept",
    Capability.PRIORITY: "priorities above 2 count as 2, those below -2 as -2, unless its URL says levels=…",
    Capability.LONG_DELAYS: "a run_after of more than 31 days is refused",
}
"""What follows where a broker cannot do it."""


def problems(alias: str, options: Mapping[str, Any]) -> list[Any]:
    return [*_options(alias, options), *_project(), *_broker(alias)]


def _options(alias: str, options: Mapping[str, Any]) -> Iterator[Any]:
    usual = {name: value for name, value in options.items() if name != "on_commit"}
    if not isinstance(options.get("on_commit", True), bool):
        yield checks.Error(f"TASKS[{alias!r}]: OPTIONS['on_commit'] must be True or False.", id="longboat.E001")
    try:
        check_names(usual)
        usual.pop("unique", None)  # which names the parameters of tasks
        usual.pop("fair_by", None)
        usual.pop("limit", None)
        define(_nothing, {**usual}, lambda: app.client)  # type: ignore[typeddict-item]  # they were just checked
    except (ConfigError, TypeError) as error:
        yield checks.Error(f"TASKS[{alias!r}]: OPTIONS: {error}", id="longboat.E001")


def _project() -> Iterator[Any]:
    if not apps.is_installed("longboat.contrib.django"):
        yield checks.Error(
            "'longboat.contrib.django' is not in INSTALLED_APPS.",
            hint="Add it: workers find the tasks in each app's tasks.py by it.",
            id="longboat.E002",
        )


def _broker(alias: str) -> Iterator[Any]:
    try:
        can = app.broker.capabilities
    except (ConfigError, ImproperlyConfigured) as error:
        yield checks.Error(f"The broker of Longboat cannot be used: {error}", id="longboat.E003")
        return
    except BrokerError:
        return  # it is away, which is no fault of the settings
    for capability, then in NEEDED.items():
        if capability not in can:
            yield checks.Warning(
                f"TASKS[{alias!r}]: the broker cannot {capability.sentence}: {then}.",
                hint=f"Brokers that can: {keepers(capability)}",
                id="longboat.W002",
            )


def _nothing() -> None: ...
