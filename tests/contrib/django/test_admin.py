"""Jobs in Django's admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.template import Template
from django.test import Client
from django.test.utils import instrumented_test_render

from longboat.contrib.django import app
from longboat.core.job import State
from tests.contrib.django.people import user
from tests.contrib.django.shop.tasks import confirm

pytestmark = pytest.mark.usefixtures("job")

JOBS = "/admin/longboat/job/"


def staff(*permissions: str) -> Client:
    its = Client()
    its.force_login(user(*permissions, staff=True))
    return its


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_index_lists_jobs_for_those_who_may_see_them() -> None:
    assert JOBS in text(staff("view").get("/admin/"))
    assert JOBS not in text(staff().get("/admin/"))
    assert staff().get(JOBS).status_code == 403
    visitor = Client()
    visitor.force_login(user("view"))
    assert visitor.get(JOBS).status_code == 302


def test_the_list_has_filters_and_a_search(dead: str) -> None:
    its = staff("view")
    everything = text(its.get(JOBS))
    assert dead in everything
    assert dead in text(
        its.get(JOBS, {"state": "dead", "queue": "default", "task": "tests.contrib.django.shop.tasks.refuse"})
    )
    assert dead not in text(its.get(JOBS, {"state": "succeeded"}))
    assert dead in text(its.get(JOBS, {"q": "error:refused state:dead"}))
    assert "No data matches" not in everything
    for wrong in ({"q": "state:nothing"}, {"state": "nothing"}, {"q": "state:dead", "state": "dead"}):
        assert "errornote" in text(its.get(JOBS, wrong))
    assert 'name="action"' not in everything


def test_the_pages_are_made_of_the_admins_own_templates(dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Template, "_render", instrumented_test_render)  # answers tell their templates
    its, more = staff("view", "operate", "delete"), {"action": "delete", "_selected_action": [dead]}
    for answer, parts in (
        (its.get(JOBS), {"change_list", "search_form", "filter", "actions"}),
        (its.get(f"{JOBS}{dead}/change/"), {"change_form"}),
        (its.post(JOBS, more), {"delete_selected_confirmation"}),
    ):
        assert {f"admin/{part}.html" for part in parts} <= {each.name for each in answer.templates}


def test_a_job_has_a_page(dead: str) -> None:
    page = text(staff("view").get(f"{JOBS}{dead}/change/"))
    assert "ValueError" in page
    assert "Traceback" in page
    assert "middleware.py" not in page  # only the project's own code
    assert f"/longboat/jobs/{dead}" in page
    assert "_retry" not in page
    assert "_retry" in text(staff("operate").get(f"{JOBS}{dead}/change/"))
    assert staff("operate").get(f"{JOBS}nothing/change/").status_code == 404


def test_actions_follow_the_permissions_and_are_on_record(dead: str) -> None:
    its, more = staff("view", "operate"), {"_selected_action": [dead]}
    assert staff("view").post(JOBS, {"action": "retry", **more}).status_code == 403
    assert its.post(JOBS, {"action": "delete", **more}).status_code == 403
    assert "must be selected" in text(its.post(JOBS, {"action": "retry"}, follow=True))
    assert "1 job retried." in text(its.post(JOBS, {"action": "retry", **more}, follow=True))
    assert app.job(dead).status() is State.READY
    assert LogEntry.objects.filter(object_id=dead).exists()
    assert "0 jobs retried of 1" in text(its.post(JOBS, {"action": "retry", **more}, follow=True))
    assert "1 job cancelled." in text(its.post(f"{JOBS}{dead}/change/", {"_cancel": "Cancel", **more}, follow=True))
    assert "-view-operate" in text(its.get("/longboat/system"))


def test_deleting_asks_first(dead: str) -> None:
    its, more = staff("delete"), {"action": "delete", "_selected_action": [dead]}
    assert "Are you sure" in text(its.post(f"{JOBS}{dead}/change/", {"_delete": "Delete", "_selected_action": [dead]}))
    assert app.broker.inspector.find([dead]) != [None]
    assert "1 job deleted." in text(its.post(f"{JOBS}{dead}/change/", {**more, "post": "yes"}, follow=True))
    assert app.broker.inspector.find([dead]) == [None]


def test_long_lists_go_on() -> None:
    confirm.enqueue_many([(n,) for n in range(150)])
    its = staff("view")
    page = its.get(JOBS)
    rest = its.get(JOBS + page.context_data["next"])
    seen = [row.job.id for each in (page, rest) for row in each.context_data["rows"]]
    assert len(seen) == len(set(seen)) == 151
