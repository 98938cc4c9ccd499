"""Tests of the SQLite broker."""
