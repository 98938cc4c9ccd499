"""Users with permissions."""

from __future__ import annotations

import itertools

from django.contrib.auth.models import Permission, User

_numbers = itertools.count()


def user(*permissions: str, staff: bool = False) -> User:
    """One with these permissions for jobs, whose name says which they are."""
    name = f"ann-{next(_numbers)}-{'-'.join(permissions)}"
    made = User.objects.create_user(name, password="secret", is_staff=staff)
    found = Permission.objects.filter(content_type__app_label="longboat", codename__in=permissions)
    assert len(found) == len(permissions)
    made.user_permissions.set(found)
    return made
