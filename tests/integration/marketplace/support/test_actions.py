"""What staff do on a customer's page: refunds, payouts, debts and leaked keys."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from marketplace.accounts.models import Organisation
from marketplace.accounts.services import api_key_create
from marketplace.billing.models import Payment, Payout, Refund
from marketplace.support.forms import LimitsForm
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture(autouse=True)
def _payments_on(settings: Any) -> None:
    translation.activate("en")
    settings.PAYMENTS_ON = True
    settings.STRIPE_SECRET_KEY = "sk_test_waypost"
    # Port 9 (discard) refuses at once: what is ordered waits for Stripe.
    settings.STRIPE_API_URL = "http://127.0.0.1:9"


def paid(shop: Shop) -> Payment:
    return Payment.objects.create(
        organisation=shop.organisation,
        purpose="topup",
        amount_cents=2_500,
        state="succeeded",
        intent_id="pi_1",
    )


def fresh(staff: Client) -> dict[str, str]:
    """What the page's forms have of their own each time that it is shown."""
    return {"once": str(staff.get("/support/acme").context["order_form"]["once"].value())}


def test_a_refund_is_ordered_once_it_is_confirmed(staff: Client, shop: Shop) -> None:
    payment = paid(shop)
    path = f"/support/acme/payments/{payment.pk}/refund"
    assert path in staff.get("/support/acme").text
    order = {"amount": "10.00", "reason": "billed by mistake"} | fresh(staff)
    asked = staff.post(path, order)
    assert "Refund $10.00 to the card?" in asked.text
    assert asked.context["kept"] == list(order.items())
    assert not Refund.objects.exists()
    for _ in range(2):
        after = staff.post(path, order | {"confirmed": "1"}, follow=True)
        assert "Refund of $10.00 ordered." in after.text
    refund = Refund.objects.get()
    assert refund.requested_by is not None
    assert (refund.amount_cents, refund.reason) == (1_000, "billed by mistake")
    assert refund.requested_by.email == "staff@example.com"
    assert 'value="15.00"' in after.text
    more = {"amount": "15.01", "reason": "more than is left", "confirmed": "1"} | fresh(staff)
    refused = staff.post(path, more)
    assert refused.status_code == 422
    assert "At most 15.00 US dollars" in refused.text
    assert Refund.objects.count() == 1


def test_a_refused_order_keeps_what_was_typed_where_it_was_typed(staff: Client, shop: Shop) -> None:
    """In the form of its payment, and ready to be sent again as the same order."""
    path = f"/support/acme/payments/{paid(shop).pk}/refund"
    order = {"amount": "1,000", "reason": "billed by mistake"} | fresh(staff)
    refused = staff.post(path, order)
    assert refused.status_code == 422
    assert "write 1000 or 1.00." in refused.text
    assert refused.text.count('value="1,000"') == 1
    assert 'value="billed by mistake"' in refused.text
    assert f'value="{order["once"]}"' in refused.text
    written_off = staff.post("/support/acme/write-off", order | {"amount": "2.5.0"})
    assert written_off.status_code == 422
    assert 'value="2.5.0"' in written_off.text
    assert 'value="billed by mistake"' in written_off.text


def test_a_payout_is_recorded_up_to_what_was_earned(staff: Client, shop: Shop) -> None:
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=15_000_000,
        )
    )
    path = "/support/acme/providers/northyard/payout"
    assert path in staff.get("/support/acme").text
    paid_out = {"amount_usd": "0.01", "reference": "SEPA 17"}
    after = staff.post(path, paid_out, follow=True)
    assert "Payout of $0.01 to Northyard Compute recorded." in after.text
    assert Payout.objects.get().reference == "SEPA 17"
    refused = staff.post(path, paid_out | {"reference": "SEPA 18"}, follow=True)
    assert "to be paid out" in refused.text
    assert 'value="SEPA 18"' in refused.text
    nameless = staff.post(path, {"amount_usd": "1.75"})
    assert nameless.status_code == 422
    assert "This field is required" in nameless.text
    assert 'value="1.75"' in nameless.text
    assert Payout.objects.count() == 1


def test_a_leaked_key_is_revoked(staff: Client, shop: Shop) -> None:
    row, _key = api_key_create(organisation=shop.organisation, name="checkout")
    path = f"/support/acme/keys/{row.pk}/revoke"
    assert path in staff.get("/support/acme").text
    assert "Revoke “checkout” permanently?" in staff.post(path).text
    row.refresh_from_db()
    assert row.disabled_at is None
    assert "“checkout” is revoked." in staff.post(path, {"confirmed": "1"}, follow=True).text
    row.refresh_from_db()
    assert row.disabled_at is not None
    assert staff.post(path).status_code == 404


def test_no_more_is_written_off_than_is_owed(staff: Client, shop: Shop) -> None:
    order = {"amount": "5.00", "reason": "goodwill"} | fresh(staff)
    assert "owes less" in staff.post("/support/acme/write-off", order, follow=True).text


def test_they_are_for_staff_and_of_this_customer(staff: Client, owner: Client, shop: Shop) -> None:
    payment = paid(shop)
    row, _key = api_key_create(organisation=shop.organisation, name="checkout")
    acts = (
        f"payments/{payment.pk}/refund",
        f"keys/{row.pk}/revoke",
        "providers/northyard/payout",
        "write-off",
    )
    assert {owner.post(f"/support/acme/{act}").status_code for act in acts} == {403}
    # Its provider belongs to nobody.
    assert staff.post("/support/acme/providers/northyard/payout").status_code == 404


def test_limits_leave_alone_what_the_customer_changes_meanwhile(
    staff: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_valid = LimitsForm.is_valid

    def meanwhile(form: LimitsForm) -> bool:
        Organisation.objects.filter(pk=shop.organisation.pk).update(masks=["email"])
        return is_valid(form)

    monkeypatch.setattr(LimitsForm, "is_valid", meanwhile)
    assert staff.post("/support/acme/limits", {"calls_at_once": "7"}).status_code == 302
    row = Organisation.objects.get(pk=shop.organisation.pk)
    assert (row.calls_at_once, row.masks) == (7, ["email"])
