"""Figures of jobs that depend on each other."""
