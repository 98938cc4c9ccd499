"""Tests of events, logs and metrics."""
