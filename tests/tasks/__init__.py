"""Tests of what users write: tasks, arguments, schedules, middleware, dependencies."""
