"""The shop's jobs."""

from __future__ import annotations

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
