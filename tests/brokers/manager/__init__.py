"""Tests of the manager broker and its server."""
