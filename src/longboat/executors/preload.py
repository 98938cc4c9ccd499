"""Imported once in multiprocessing's fork server. Children start with Longboat loaded, and a SIGTERM to the whole process
group does not end the server, and all children with it, before the worker has finished its jobs."""

from __future__ import annotations

import signal

from longboat.executors.child import shield

shield(signal.SIGTERM)
