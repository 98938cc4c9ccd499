"""Imported once in multiprocessing's fork server: children start with Longboat loaded, and a SIGTERM for the whole
process group does not end the server, and with it all children, before the worker has ended its jobs."""

from __future__ import annotations

import signal

from longboat.executors.child import shield

shield(signal.SIGTERM)
