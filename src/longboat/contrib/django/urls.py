"""`path("longboat/", include("longboat.contrib.django.urls"))`: the dashboard."""

from __future__ import annotations

from django.urls import re_path

from longboat.contrib.django.page import dashboard

app_name = "longboat"
urlpatterns = [re_path(r"^(?P<path>(?s:.*))\Z", dashboard, name="dashboard")]
