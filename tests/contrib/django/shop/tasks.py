"""The shop's jobs."""

from __future__ import annotations

import threading
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone, translation

from longboat.contrib.django import app
from tests.contrib.django.shop.models import Order


@app.task
def confirm(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    order.confirmed = True
    order.save()
    return order.buyer  # type: ignore[no-any-return]  # Django has no types


@app.task
async def aconfirm(order_id: int) -> str:
    order = await Order.objects.aget(pk=order_id)
    order.confirmed = True
    await order.asave()
    return order.buyer  # type: ignore[no-any-return]  # Django has no types


@app.task(executor="process")
def confirm_apart(order_id: int) -> str:
    return confirm(order_id)


@app.task
def backend() -> int:
    """The process of the server that this job's connection talks to."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found: int = cursor.fetchone()[0]
    return found


@app.task
async def abackend() -> int:
    found: int = await sync_to_async(backend)()
    return found


@app.task(executor="process")
def backend_apart() -> int:
    return backend()


@app.task
def language() -> tuple[str, str]:
    """What the job before has left here; this one leaves something for the next."""
    found = translation.get_language(), timezone.get_current_timezone_name()
    translation.activate("fr")
    timezone.activate("Asia/Tokyo")
    return found


@app.task
async def alanguage() -> tuple[str, str]:
    return language()


@app.task
def queries() -> int:
    """How many the log holds after one."""
    Order.objects.count()
    return len(connection.queries)


@app.task
def refuse(password: str) -> None:
    raise ValueError(f"refused: {len(password)} characters")


_both = threading.Barrier(2)
go_on = threading.Event()
"""Set by a test: until then, `stuck` blocks its thread."""


@app.task
async def meet() -> None:
    """Ends if two jobs may use the ORM at the same time."""
    await sync_to_async(_both.wait)(30)


@app.task(timeout=0.2)
async def stuck() -> None:
    await sync_to_async(go_on.wait)(30)


@app.task
def about(what: Any) -> str:
    return str(what)
