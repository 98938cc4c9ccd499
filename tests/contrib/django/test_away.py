"""A project whose Redis is away: nothing that a view enqueues is refused, and all of it runs when the server is there."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from longboat.contrib.django import app
from longboat.contrib.django.compat import TaskResultStatus
from longboat.core.job import State
from tests.contrib.django.chores import tasks
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.tasks import confirm
from tests.rigs.fault import until
from tests.rigs.servers.redis import RedisServer, available

pytestmark = [pytest.mark.slow, pytest.mark.skipif(available() is not None, reason=str(available()))]


class Undone(Exception):
    pass


def test_jobs_of_views_outlive_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGBOAT_URL", raising=False)
    server = RedisServer(tmp_path)
    settings = {"URL": server.url, "SPOOL": f"sqlite:///{tmp_path}/spool.db", "OUTBOX": "default"}
    with override_settings(LONGBOAT=settings), contextlib.closing(app):
        call_command("migrate", run_syncdb=True, verbosity=0)
        with transaction.atomic():
            ann = Order.objects.create(buyer="Ann")
            committed, result = confirm.enqueue(ann.pk), tasks.add.using(priority=7).enqueue(1)
        with contextlib.suppress(Undone), transaction.atomic():
            undone = confirm.enqueue(Order.objects.create(buyer="Bob").pk)
            raise Undone
        outside, outside_result = confirm.enqueue(ann.pk), tasks.add.enqueue(2)
        assert [each.status() for each in (committed, outside)] == [State.WAITING] * 2
        for each in (result, outside_result):
            assert tasks.add.get_result(each.id) == each
            assert each.status == TaskResultStatus.READY
        with server, app.worker():
            assert [each.result(20) for each in (committed, outside)] == ["Ann", "Ann"]
            until(lambda: [tasks.add.get_result(each.id).is_finished for each in (result, outside_result)] == [True] * 2, 10)
            assert app.broker.inspector.find([undone.id]) == [None]
        ann.delete()
