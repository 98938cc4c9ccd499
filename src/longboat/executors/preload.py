"""Imported once in multiprocessing's fork server. Children start with Longboat loaded, and a signal to the whole process
group does not end the server, and all children with it, before the worker has finished its jobs."""

from __future__ import annotations

import signal

from longboat.core.signals import shield
from longboat.executors import child as child  # so that it is loaded

shield(signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
