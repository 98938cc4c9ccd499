"""What a project tests by `manage.py test`: run by tests/contrib/django/test_transaction.py."""

from __future__ import annotations

from django.db import connection
from django.test import TestCase, TransactionTestCase

from longboat.contrib.django import app
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.tasks import confirm

_ = app.broker  # opened before there is a database for tests


class Committed(TransactionTestCase):  # type: ignore[misc]  # Django has no types
    def test_a_job_runs(self) -> None:
        order = Order.objects.create(buyer="Ann")
        confirm.enqueue(order.pk)
        with app.worker(burst=True) as worker:
            worker.finished.wait(30)
        order.refresh_from_db()
        assert order.confirmed


class RolledBack(TestCase):  # type: ignore[misc]  # Django has no types
    def test_a_job_is_enqueued(self) -> None:
        before = sum(app.broker.inspector.counts().values())
        confirm.enqueue(Order.objects.create(buyer="Ann").pk)
        stored = sum(app.broker.inspector.counts().values()) - before
        assert stored == (0 if app.same_database(connection) else 1)
