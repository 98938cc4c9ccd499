"""Apps and tasks that tests run, also in processes of their own, which find them as `tests.apps.NAME:app`."""
