"""The shop's page, and what its form does."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from django_shop.models import Order
from django_shop.tasks import confirm


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html", {"orders": Order.objects.order_by("-pk")[:20]})


@require_POST  # type: ignore[untyped-decorator]  # Django has no types
def place(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        order = Order.objects.create(item=request.POST["item"], email=request.POST["email"])
        confirm.enqueue(order.pk)  # stored by the commit that stores the order
    return redirect("index")
