"""Tests of what operators do: search, bulk actions, moving, schedules."""
