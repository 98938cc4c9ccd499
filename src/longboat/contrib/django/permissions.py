"""What Django's permissions mean for jobs."""

from __future__ import annotations

from typing import Any

VIEW, OPERATE, DELETE = "longboat.view", "longboat.operate", "longboat.delete"
ROLES = {DELETE: "admin", OPERATE: "operator", VIEW: "viewer"}
"""By permission: what the dashboard calls those who have it. The first one counts."""


def role_of(user: Any) -> str | None:
    """The dashboard's role of a user; None for those without access."""
    return next((role for permission, role in ROLES.items() if user.has_perm(permission)), None)
