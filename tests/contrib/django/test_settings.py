"""Which broker the settings name."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils.translation import gettext_lazy

from longboat.connect import connect
from longboat.contrib.django import app
from longboat.contrib.django.apps import named_broker
from longboat.contrib.django.database import database_url
from longboat.core.urls import whole
from longboat.errors import BadArguments
from tests.contrib.django.shop.tasks import confirm


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)


def test_the_variable_beats_the_settings_which_beat_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.url == database_url()
    with override_settings(LONGBOAT={"URL": "redis://settings"}):
        assert app.url == "redis://settings"
        monkeypatch.setenv("LONGBOAT_URL", "redis://variable")
        assert app.url == "redis://variable"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"BROKER": "redis://"}, "'URL', 'SPOOL', 'OUTBOX'"),
        ("redis://", "must be a dict"),
        ({"URL": 3}, "is int"),
        ({"URL": "redis://", "SPOOL": "spool.db"}, "write sqlite:///spool.db"),
        ({"URL": "redis://", "OUTBOX": "orders"}, "'orders'; it must be an alias of DATABASES"),
    ],
)
def test_settings_that_make_no_sense_are_told_of(wrong: Any, said: str) -> None:
    with override_settings(LONGBOAT=wrong):
        (found,) = named_broker()
    assert said in f"{found.msg} {found.hint}"


def test_a_database_that_keeps_the_jobs_needs_no_outbox() -> None:
    with override_settings(LONGBOAT={"OUTBOX": "default"}):
        assert app.outbox is None


def test_jobs_are_kept_in_a_sqlite_database() -> None:
    with contextlib.closing(connect("longboat://django")) as broker:
        assert broker.inspector.counts() is not None
    assert app.url == f"sqlite:///{settings.FOLDER}/db.sqlite3"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"NAME": "shop"}, "postgresql:///shop"),
        ({"NAME": "test_shop", "USER": "ann"}, "postgresql://ann@/test_shop"),
        (
            {"NAME": "a/b", "USER": "a@b", "PASSWORD": "p:w", "HOST": "db.example", "PORT": "5433"},
            "postgresql://a%40b:p%3Aw@/a%2Fb?host=db.example&port=5433",
        ),
        (
            {"NAME": "shop", "HOST": "/run/pg", "OPTIONS": {"sslmode": "require", "pool": True, "isolation_level": 1}},
            "postgresql:///shop?sslmode=require&host=%2Frun%2Fpg",
        ),
    ],
)
def test_a_postgresql_database_has_a_url(given: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": "", **given}
    postgres = SimpleNamespace(vendor="postgresql", settings_dict=settings)
    monkeypatch.setattr("longboat.contrib.django.database.connections", {"default": postgres})
    assert whole(database_url()) == url


def test_a_lazy_translation_says_what_to_pass() -> None:
    with pytest.raises(BadArguments, match=r"a lazy translation cannot be serialised: pass str\(…\)"):
        confirm.enqueue(gettext_lazy("yes"))
