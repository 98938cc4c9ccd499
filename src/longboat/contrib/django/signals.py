"""Django's signals about tasks. A receiver that raises is logged: it harms no job, and no call that enqueued one."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async


def send(signal: Any, sender: type, result: Any) -> None:
    signal.send_robust(sender=sender, task_result=result)


async def asend(signal: Any, sender: type, result: Any) -> None:
    if hasattr(signal, "asend_robust"):  # Django 5.0
        await signal.asend_robust(sender=sender, task_result=result)
    else:
        await sync_to_async(signal.send_robust)(sender=sender, task_result=result)
