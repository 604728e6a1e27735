"""Orders in Django's admin: who and why stay on record, and nothing else can be done there."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.billing.models import Refund, StaffTransfer
from marketplace.billing.payments.books.transfers import owed_nano
from tests.integration.marketplace.billing.payments.stripe.test_localstripe import paid_at_stripe
from tests.integration.marketplace.billing.payments.stripe_events import (
    deliver,
    dispute,
    event,
    paid,
)
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

REFUNDS, ORDERS = "/admin/billing/refund/add/", "/admin/billing/stafftransfer/add/"
ONCE = {"once": "8a1f6a0e-6a0c-4d8e-9a52-0d3a5b0e6c11"}


@pytest.fixture
def staff(shop: Shop) -> Client:
    return signed_in(User.objects.create_superuser("root@example.com"))


def test_a_refund_is_ordered(
    shop: Shop,
    staff: Client,
    stripe_url: str,
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]],
) -> None:
    payment = paid_at_stripe(shop.organisation)
    body = {"payment": payment.pk, "amount": "10.00", "reason": "asked for it", **ONCE}
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            assert staff.post(REFUNDS, body).status_code == 302
    made = Refund.objects.get()
    assert (made.state, made.amount_cents, made.reason) == ("succeeded", 1_000, "asked for it")
    assert made.requested_by == User.objects.get(email="root@example.com")
    again = staff.post(REFUNDS, {**body, "amount": "15.01"})
    assert b"At most 15.00 US dollars of this payment can be refunded" in again.content
    assert staff.get(f"/admin/billing/refund/{made.pk}/change/").status_code == 200
    assert staff.post(f"/admin/billing/refund/{made.pk}/delete/").status_code == 403


def test_without_keys_no_refund_is_ordered(shop: Shop, staff: Client, settings: Any) -> None:
    payment = paid(shop.organisation)
    settings.PAYMENTS_ON = False
    body = {"payment": payment.pk, "amount": "1", "reason": "x", **ONCE}
    assert b"Payments are off" in staff.post(REFUNDS, body).content
    assert not Refund.objects.exists()


def test_a_grant_names_who_and_why(shop: Shop, staff: Client) -> None:
    body = {
        "organisation": shop.organisation.pk,
        "kind": "grant",
        "amount": "12.34",
        "reason": "an outage",
        **ONCE,
    }
    for wrong in ({"reason": ""}, {"amount": "0"}, {"amount": "1.001"}, {"kind": "topup"}):
        assert staff.post(ORDERS, {**body, **wrong}).status_code == 200
    for _ in range(2):
        assert staff.post(ORDERS, body).status_code == 302
    row = StaffTransfer.objects.get()
    assert (row.reason, row.ordered_by.email) == ("an outage", "root@example.com")
    assert row.transfer.amount_nano == 12_340_000_000
    assert staff.get(f"/admin/billing/stafftransfer/{row.pk}/change/").status_code == 200
    assert b"an outage" in staff.get("/admin/billing/stafftransfer/").content


def test_a_debt_is_written_off(shop: Shop, staff: Client) -> None:
    payment = paid(shop.organisation)
    deliver(event("charge.dispute.created", dispute(payment, 4_000)))
    body = {
        "organisation": shop.organisation.pk,
        "kind": "write_off",
        "amount": "5.01",
        "reason": "gone",
        **ONCE,
    }
    assert b"owes less" in staff.post(ORDERS, body).content
    assert staff.post(ORDERS, {**body, "amount": "5"}).status_code == 302
    assert owed_nano(shop.organisation) == 0
    assert StaffTransfer.objects.get().transfer.amount_nano == 5 * USD
