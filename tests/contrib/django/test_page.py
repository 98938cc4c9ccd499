"""The dashboard in urls.py, behind Django's login and permissions."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from longboat.contrib.django import app
from longboat.contrib.django.apps import servable
from tests.contrib.django.people import user
from tests.contrib.django.shop.tasks import confirm

pytestmark = pytest.mark.usefixtures("job")


def client(*permissions: str) -> Client:
    made = Client(enforce_csrf_checks=True)
    made.force_login(user(*permissions))
    return made


def post(by: Client, verb: str, id: str, **more: Any) -> Any:
    form = urlencode({"id": id, "sure": "yes"})
    return by.post(f"/longboat/do/{verb}", form, content_type="application/x-www-form-urlencoded", **more)


def test_whoever_is_not_logged_in_is_sent_to_the_login_page_and_back() -> None:
    answer = Client().get("/longboat/jobs?q=state:dead")
    assert answer.status_code == 302
    assert answer["location"] == "/admin/login/?next=/longboat/jobs%3Fq%3Dstate%3Adead"
    assert Client().get("/longboat/api/v1/jobs").status_code == 401
    assert Client().get("/longboat/", headers={"hx-request": "true"}).status_code == 401
    assert Client().get("/longboat").status_code == 301


def test_a_dashboard_without_its_packages_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert servable() == []
    monkeypatch.setitem(sys.modules, "starlette", None)
    (found,) = servable()
    assert found.hint == "pip install 'longboat[django]'"


def test_a_user_without_the_permission_is_refused() -> None:
    assert client().get("/longboat/").status_code == 403
    found = user("view", "operate", "delete")
    found.is_active = False
    found.save()
    inactive = Client()
    inactive.force_login(found)
    assert inactive.get("/longboat/").status_code in (302, 403)


def test_pages_styles_and_the_api_are_served(job: str) -> None:
    viewer = client("view")
    overview = viewer.get("/longboat/")
    assert overview.status_code == 200
    assert 'href="/longboat/jobs"' in overview.content.decode()
    assert job in viewer.get("/longboat/jobs").content.decode()
    assert "confirm" in viewer.get(f"/longboat/jobs/{job}").content.decode()
    style = next(part for part in overview.content.decode().split('"') if part.endswith(".css") or ".css?" in part)
    assert "css" in viewer.get(style)["content-type"]
    assert viewer.get("/longboat/api/v1/jobs").json()["jobs"][0]["id"] == job
    assert viewer.get("/longboat/nothing").status_code == 404


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [(("view",), [403, 403]), (("operate",), [303, 403]), (("view", "delete"), [303, 303])],
)
def test_what_may_be_changed_follows_the_permissions(permissions: Any, statuses: list[int], job: str) -> None:
    its = client(*permissions)
    for verb, expected in zip(("cancel", "discard"), statuses, strict=True):
        done = post(its, verb, job if verb == "cancel" else confirm.enqueue(2).id)
        assert done.status_code == expected, done.content.decode()[:2000]


def test_changes_from_another_site_are_refused_and_the_audit_log_names_the_user(job: str) -> None:
    operator = client("operate")
    foreign = post(operator, "cancel", job, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert app.job(job).status().value == "ready"
    ours = post(operator, "cancel", job, headers={"origin": "http://testserver"})
    assert ours.status_code == 303
    assert "1 job cancelled" in operator.get("/longboat/jobs").content.decode()
    assert "-operate" in operator.get("/longboat/audit").content.decode()


def test_it_works_under_asgi(job: str) -> None:
    viewer = AsyncClient()
    viewer.force_login(user("view"))
    answer = async_to_sync(viewer.get)("/longboat/jobs")
    assert answer.status_code == 200
    assert job in answer.content.decode()
