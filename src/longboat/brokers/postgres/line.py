"""A connection of its own, for who waits on it, that hears notifications."""

from __future__ import annotations

import os
from typing import Any

from longboat.brokers.postgres.link import TimedConnection
from longboat.brokers.postgres.pool import leave_alone
from longboat.brokers.postgres.store import Store


class ListenConnection:
    """One thread at a time uses it. Opened late, and again when it broke or after a fork."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._link: TimedConnection | None = None
        self._pid = -1
        self._heard: list[str] = []
        self.is_deaf = store.pgbouncer
        """It never hears a notification."""
        self.fresh = False
        """It was opened since somebody set this to False: notifications may have been missed."""

    def link(self) -> TimedConnection:
        """The connection, which hears notifications."""
        if self._link is not None and (self._pid != os.getpid() or self._link.closed):
            self.drop()
        if self._link is None:
            link = self._store.connect()
            try:
                link.add_notify_handler(lambda notify: self._heard.append(notify.payload))
                if not self.is_deaf:
                    link.execute(f"LISTEN {self._store.channel}".encode())
            except BaseException:
                link.let_go()
                raise
            self._link, self._pid, self.fresh = link, os.getpid(), True
        return self._link

    def run(self, sql: str, **values: Any) -> Any:
        return self._store.run(self.link(), sql, values)

    def told(self) -> list[str]:
        """The notifications that have come since the last call, those that wait in the driver's buffer too."""
        self._heard += [payload.decode() for payload in self.link().drain()]
        heard, self._heard = self._heard, []
        return heard

    def drop(self) -> None:
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            link.let_go()
        elif link is not None:
            leave_alone(link)
