"""The harness in Django's TestCase: jobs run in the test's own transaction, once the code under test has committed."""

from __future__ import annotations

from django.core.management import call_command
from django.db import transaction
from django.test import TestCase

from longboat.contrib.django import app
from longboat.testing import Harness
from tests.contrib.django.chores import tasks as chores
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.tasks import confirm


class Orders(TestCase):  # type: ignore[misc]  # Django has no types
    jobs: Harness

    @classmethod
    def setUpClass(cls) -> None:
        call_command("migrate", run_syncdb=True, verbosity=0)
        super().setUpClass()

    def setUp(self) -> None:
        self.jobs = self.enterContext(Harness(app))

    def test_a_job_sees_the_rows_of_the_test(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            order = Order.objects.create(buyer="ann")
            transaction.on_commit(lambda: confirm.enqueue(order.pk))
            self.jobs.assert_not_enqueued(confirm)
        self.jobs.assert_enqueued(confirm, order.pk)
        (done,) = self.jobs.perform_jobs()
        order.refresh_from_db()
        assert (done.result, order.confirmed) == ("ann", True)

    def test_a_task_of_the_backend_is_enqueued_by_the_commit(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            result = chores.add.enqueue(1, 2)
        self.jobs.assert_not_enqueued(chores.add)
        for callback in callbacks:
            callback()
        self.jobs.assert_enqueued(chores.add, 1, b=2, queue="default")
        self.jobs.perform_jobs()
        result.refresh()
        assert result.return_value == 3

    def test_eager(self) -> None:
        order = Order.objects.create(buyer="ann")
        with self.jobs.eager():
            assert confirm.enqueue(order.pk).result() == "ann"
