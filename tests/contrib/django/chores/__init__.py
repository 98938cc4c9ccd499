"""An app of the project whose tasks are those of django.tasks, or of the backport."""
