"""The shop, the admin with its page of jobs, and the dashboard."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from django_shop import views

urlpatterns = [
    path("", views.index, name="index"),
    path("orders", views.place, name="place"),
    path("admin/", admin.site.urls),
    path("longboat/", include("longboat.contrib.django.urls")),
]
