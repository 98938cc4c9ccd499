"""Tests of the calling side."""
