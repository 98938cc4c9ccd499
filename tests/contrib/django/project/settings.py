"""A project as users have one. Tests in other processes choose its database and more by variables."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import django

FOLDER = Path(os.environ.get("PROJECT_FOLDER") or tempfile.mkdtemp(prefix="longboat-django-"))

SECRET_KEY = "of no use outside of tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
LANGUAGE_CODE = "de"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
LOGIN_URL = "/admin/login/"
ROOT_URLCONF = "tests.contrib.django.project.urls"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "longboat.contrib.django",
    "tests.contrib.django.chores",
    "tests.contrib.django.shop",
    *(() if django.VERSION[0] >= 6 else ("django_tasks",)),
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES: dict[str, Any] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}}
TASKS: dict[str, Any] = {
    "default": {"BACKEND": "longboat.contrib.django.LongboatBackend", "QUEUES": ["default", "mail"]},
    "careless": {
        "BACKEND": "longboat.contrib.django.LongboatBackend",
        "QUEUES": [],
        "OPTIONS": {"on_commit": False, "retries": 9},
    },
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
globals().update(json.loads(os.environ.get("PROJECT_SETTINGS", "{}")))
