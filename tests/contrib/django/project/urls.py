"""What a project's urls.py says."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("favicon.ico", lambda _: HttpResponse(status=204)),
    path("longboat/", include("longboat.contrib.django.urls")),
]
