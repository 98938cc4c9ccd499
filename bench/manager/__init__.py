"""Figures of the manager broker."""
