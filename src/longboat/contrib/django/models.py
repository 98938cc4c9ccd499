"""What Django's permissions and admin know of jobs. Jobs are rows of no table of Django's."""

from __future__ import annotations

from django.db import models


class Job(models.Model):  # type: ignore[misc]  # Django has no types
    """Stands for the jobs that the broker keeps."""

    id = models.CharField(primary_key=True, max_length=255)

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (  # as `longboat.view`, `longboat.operate` and `longboat.delete`
            ("view", "Can look at jobs, queues and workers"),
            ("operate", "Can retry, cancel and enqueue jobs, pause queues and stop workers"),
            ("delete", "Can delete jobs and schedules"),
        )

    def __str__(self) -> str:
        return str(self.pk)
