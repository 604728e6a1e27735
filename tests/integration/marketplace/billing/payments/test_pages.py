"""The Billing page's forms: who may, how much, and what is shown."""

from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.models import Membership, Role, User
from marketplace.accounts.services import organisation_create
from marketplace.billing.models import AutoRecharge, Payment, PaymentProfile
from tests.integration.marketplace.billing.payments.stripe_events import (
    deliver,
    dispute,
    event,
    paid,
    pending_payment,
    refund,
)
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

RULE = {"enabled": "on", "threshold": "15", "amount": "20.50", "cap": "50"}


def client_with_role(shop: Shop, role: Role) -> Client:
    user = User.objects.create_user(f"a-{role}@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    return signed_in(user)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.OWNER, True),
        (Role.ADMIN, True),
        (Role.BILLING, True),
        (Role.DEVELOPER, False),
        (Role.VIEWER, False),
    ],
)
def test_some_roles_pay(shop: Shop, stripe_url: str, role: Role, may: bool) -> None:
    PaymentProfile.objects.create(organisation=shop.organisation, payment_method_id="pm_1")
    client = client_with_role(shop, role)
    assert client.post("/billing/topup", {"amount": "5"}).status_code == (302 if may else 403)
    assert client.post("/billing/auto-recharge", RULE).status_code == (302 if may else 403)
    forgotten = client.post("/billing/forget-card", {"confirmed": "1"})
    assert forgotten.status_code == (302 if may else 403)
    assert PaymentProfile.objects.exclude(payment_method_id="").exists() is not may
    assert (b'action="/billing/topup"' in client.get("/billing").content) is may
    assert Payment.objects.exists() is AutoRecharge.objects.exists() is may


def test_a_form_without_its_token_is_refused(shop: Shop) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(shop.owner)
    assert client.post("/billing/topup", {"amount": "5"}).status_code == 403
    assert client.post("/billing/auto-recharge", RULE).status_code == 403


@pytest.mark.parametrize("amount", ["", "x", "4.99", "1000.01", "5.001", "-5", "NaN", "1e9"])
def test_an_amount_out_of_bounds_is_refused_with_a_word(
    shop: Shop, owner: Client, amount: str
) -> None:
    answer = owner.post("/billing/topup", {"amount": amount})
    assert answer.status_code == 422
    assert b'role="alert"' in answer.content
    assert not Payment.objects.exists()


def test_too_many_unfinished_payments_are_refused(shop: Shop, owner: Client) -> None:
    for _ in range(20):
        pending_payment(shop.organisation)
    answer = owner.post("/billing/topup", {"amount": "5"})
    assert answer.status_code == 422
    assert "Too many payments" in answer.content.decode()


def test_stripe_away_is_said_and_nothing_is_charged(shop: Shop, owner: Client) -> None:
    answer = owner.post("/billing/topup", {"amount": "5"})
    assert answer.status_code == 503
    assert "Nothing was charged" in answer.content.decode()
    assert Payment.objects.get().state == "failed"


def test_without_keys_the_page_says_who_grants_credit(
    shop: Shop, owner: Client, settings: Any
) -> None:
    settings.PAYMENTS_ON = False
    page = owner.get("/billing").content.decode()
    assert "the platform&#x27;s staff grant credit. Ask for it here" in page or (
        "the platform's staff grant credit. Ask for it here" in page
    )
    assert 'action="/billing/topup"' not in page
    assert owner.post("/billing/topup", {"amount": "5"}).status_code == 503


def directives() -> list[str]:
    """What the pages' policy says, in an order of its own each time."""
    policy = Client().get("/").headers["Content-Security-Policy"]
    return [part.strip() for part in policy.split(";")]


def test_browsers_may_follow_the_form_to_stripe_only_where_payments_are_on(
    shop: Shop, settings: Any
) -> None:
    stand_in = settings.STRIPE_API_URL
    assert f"form-action 'self' https://checkout.stripe.com {stand_in}" in directives()
    settings.STRIPE_API_URL = settings.STRIPE_API
    assert "form-action 'self' https://checkout.stripe.com" in directives()
    settings.PAYMENTS_ON = False
    assert "form-action 'self'" in directives()


def test_the_page_shows_what_came_and_what_went_back(shop: Shop, owner: Client) -> None:
    payment = paid(shop.organisation)
    deliver(event("refund.created", refund(payment, 500)))
    deliver(event("charge.dispute.created", dispute(payment, 2_000)))
    for path in ("/billing", f"/billing/payments/{payment.pk}"):
        page = owner.get(path).content.decode()
        for shown in ("$25.00", "Received", "$5.00", "Refunded", "$20.00", "Open"):
            assert shown in page, (path, shown)


def test_a_debt_is_on_the_page(shop: Shop, owner: Client) -> None:
    payment = paid(shop.organisation)
    deliver(event("charge.dispute.created", dispute(payment, 4_000)))
    page = owner.get("/billing").content.decode()
    assert "you owe $5.00" in page


def test_another_organisations_payment_is_not_found(shop: Shop) -> None:
    payment = paid(shop.organisation)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/billing/payments/{payment.pk}").status_code == 404
    assert str(payment.pk) not in client.get("/billing").content.decode()


@pytest.mark.parametrize("state", ["pending", "succeeded", "failed", "expired"])
def test_a_payment_is_asked_about_again_only_while_it_waits(
    shop: Shop, owner: Client, state: str
) -> None:
    payment = pending_payment(shop.organisation)
    Payment.objects.filter(pk=payment.pk).update(state=state)
    page = owner.get(f"/billing/payments/{payment.pk}").content
    assert (b"hx-get" in page) is (state == "pending")


def test_a_rule_is_kept_and_shown_again(shop: Shop, owner: Client) -> None:
    assert b'action="/billing/auto-recharge"' not in owner.get("/billing").content
    assert owner.post("/billing/auto-recharge", RULE).status_code == 422
    PaymentProfile.objects.create(organisation=shop.organisation, payment_method_id="pm_1")
    assert owner.post("/billing/auto-recharge", RULE).status_code == 302
    rule = AutoRecharge.objects.get()
    assert (rule.threshold_cents, rule.amount_cents, rule.cap_cents) == (1_500, 2_050, 5_000)
    assert rule.changed_by == shop.owner
    assert b'value="20.50"' in owner.get("/billing").content
    refused = owner.post("/billing/auto-recharge", {**RULE, "cap": "10"})
    assert refused.status_code == 422
    assert b'role="alert"' in refused.content


def test_failures_of_the_card_are_shown(shop: Shop, owner: Client) -> None:
    PaymentProfile.objects.create(organisation=shop.organisation, payment_method_id="pm_1")
    owner.post("/billing/auto-recharge", RULE)
    AutoRecharge.objects.update(failures=4, failure="Your card was declined.", enabled=False)
    page = owner.get("/billing").content.decode()
    assert "(attempt 4 of 4): Your card was declined." in page
    assert "Auto-recharge was turned off" in page
