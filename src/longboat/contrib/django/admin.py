"""Jobs in Django's admin: a list with filters and a search, a page for each, and what may be done with them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext

from longboat.contrib.django import listed
from longboat.contrib.django.actions import ACTIONS, act
from longboat.contrib.django.app import app
from longboat.contrib.django.models import Job
from longboat.contrib.django.permissions import role_of
from longboat.errors import LongboatError


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):  # type: ignore[misc]  # Django has no types
    """Pages of the broker's jobs in the place of those of a table's rows."""

    def has_module_permission(self, request: Any) -> bool:
        return role_of(request.user) is not None

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002  # as its base class has it
        return role_of(request.user) is not None

    def has_add_permission(self, request: Any) -> bool:  # noqa: ARG002  # as Django calls it
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002  # as Django calls it
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002  # as Django calls it
        return False

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="longboat_job_changelist"),
            path("<path:object_id>/change/", view(self.change_view), name="longboat_job_change"),
        ]

    def changelist_view(self, request: Any, extra_context: Any = None) -> Any:
        """The list, or what an action of it answers."""
        if (answer := self._acted(request)) is not None:
            return answer
        context = {**listed.listed(app, request.GET, self.opts), **self._menu(request), **(extra_context or {})}
        context["selection_note"] = gettext("0 of %(cnt)s selected") % {"cnt": len(context["rows"])}
        return self._page(request, "jobs", "Select job to view", context)

    def change_view(self, request: Any, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:  # noqa: ARG002  # as Django calls it
        """One job, or what an action on it answers. Raises Http404."""
        if (answer := self._acted(request)) is not None:
            return answer
        try:
            found = listed.one(app, object_id)
        except LongboatError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
        if found is None:
            raise Http404(f"There is no job {object_id!r}: it was never enqueued here, or it ended and is no longer kept.")
        return self._page(request, "job", "View job", found | (extra_context or {}))

    def _acted(self, request: Any) -> HttpResponseBase | None:
        """Do what a form asks for, or ask whether it is meant; None if there is only something to see.

        Raises PermissionDenied.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return None
        pressed = next((name for name in ACTIONS if f"_{name}" in request.POST), "")  # on a job's page, as Django's _save
        action, ids = (
            pressed or request.POST.get("action", ""),
            list(dict.fromkeys(request.POST.getlist("_selected_action"))),
        )
        if action not in self._allowed(request):
            if action in ACTIONS:
                raise PermissionDenied
            messages.warning(request, "No action selected.")
        elif not ids:
            messages.warning(
                request, "Jobs must be selected in order to perform actions on them. No jobs have been changed."
            )
        elif ACTIONS[action].asks and not request.POST.get("post"):
            return self._page(request, "sure", "Are you sure?", {"ids": ids, "action": action})
        else:
            self._do(request, action, ids)
            if ACTIONS[action].asks:  # the page of a deleted job is gone
                return HttpResponseRedirect(reverse("admin:longboat_job_changelist", current_app=self.admin_site.name))
        return HttpResponseRedirect(request.get_full_path())

    def _do(self, request: Any, action: str, ids: list[str]) -> None:
        try:
            said, done = act(app.broker, request.user, action, ids)
        except LongboatError as error:
            messages.error(request, str(error))
            return
        for each in done:
            self.log_change(request, Job(pk=each), f"{ACTIONS[action].became}.".capitalize())
        (messages.success if done else messages.warning)(request, said)

    def _allowed(self, request: Any) -> dict[str, str]:
        """The actions that this user may take, with what a menu says."""
        return {name: each.label for name, each in ACTIONS.items() if request.user.has_perm(each.permission)}

    def _menu(self, request: Any) -> dict[str, Any]:
        """What the admin's template of actions needs. The choice of none is worded as this version of Django has it."""
        if not (allowed := self._allowed(request)):
            return {}
        form = self.action_form(auto_id="")
        form.fields["action"].choices = [*self.get_action_choices(request)[:1], *allowed.items()]
        return {"action_form": form, "actions_on_top": True, "actions_selection_counter": True}

    def _page(self, request: Any, template: str, title: str, context: dict[str, Any]) -> TemplateResponse:
        request.current_app = self.admin_site.name
        usual = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        more = {
            "actions": self._allowed(request),
            "has_view_permission": True,
            "media": self.media,
            "here": request.get_full_path(),
        }
        return TemplateResponse(request, f"longboat/admin/{template}.html", {**usual, **more, **context})
