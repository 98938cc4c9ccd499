"""What happens after the request."""

from __future__ import annotations

from django.core.mail import send_mail

from django_shop.models import Order
from longboat.contrib.django import app


@app.task(retries=3, queue="mail")
def confirm(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    send_mail("Your order", f"Your {order.item} is on its way.", "shop@example.com", [order.email])
    order.state = "confirmed"
    order.save(update_fields=["state"])
    return f"mail to {order.email}"
