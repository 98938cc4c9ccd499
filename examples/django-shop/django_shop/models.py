"""What the shop keeps."""

from __future__ import annotations

from django.db import models


class Order(models.Model):  # type: ignore[misc]  # Django has no types
    item = models.CharField(max_length=100)
    email = models.EmailField()
    state = models.CharField(max_length=20, default="new")

    def __str__(self) -> str:
        return f"{self.item} for {self.email}"
