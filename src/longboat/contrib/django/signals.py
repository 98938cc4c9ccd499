"""Django's signals about tasks. A receiver that raises is logged: it harms no job, and no call that enqueued one."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async

from longboat.contrib.django.compat import LOGS


def send(signal: Any, sender: type, result: Any) -> None:
    signal.send_robust(sender=sender, task_result=result)


async def asend(signal: Any, sender: type, result: Any) -> None:
    if all(receiver[0][0] in LOGS for receiver in signal.receivers):  # these need no thread of their own, which costs 0.2 ms
        send(signal, sender, result)
    elif hasattr(signal, "asend_robust"):  # Django 5.0
        await signal.asend_robust(sender=sender, task_result=result)
    else:
        await sync_to_async(signal.send_robust)(sender=sender, task_result=result)
