"""Tests of plain data and pure decisions."""
