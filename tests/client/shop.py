"""The tasks that jobs of the outbox and of the spool are made of."""

from __future__ import annotations

from longboat import Longboat, Unique


def with_tasks(app: Longboat) -> Longboat:
    @app.task(name="send")
    def send(order: int) -> int:
        return order

    @app.task(name="once", unique=Unique(by="{order}"))
    def once(order: int) -> int:
        return order

    return app
