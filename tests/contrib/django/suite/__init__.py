"""Django's own tests of django.tasks, run against Longboat's backend."""
