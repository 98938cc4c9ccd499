"""The app of bench.peers.job for a worker that tells no events at all."""

from __future__ import annotations

from bench.events.without_events import app
from bench.peers.job import marked

__all__ = ["app", "marked"]
