"""Payments over the management API: who sees what, who may do what."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from marketplace.accounts.models import Membership, Role, Scope, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.billing.models import Payment, PaymentProfile, Refund, StaffTransfer
from tests.integration.marketplace.billing.payments.stripe.test_localstripe import paid_at_stripe
from tests.integration.marketplace.billing.payments.stripe_events import (
    deliver,
    dispute,
    event,
    paid,
    refund,
)
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

RULE = {
    "organisation": "acme",
    "enabled": True,
    "threshold_cents": 1_500,
    "amount_cents": 2_000,
    "cap_cents": 5_000,
}
TOPUP = {"organisation": "acme", "amount_cents": 2_500}


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


@pytest.fixture
def staff(shop: Shop) -> User:
    return User.objects.create_user("staff@example.com", is_staff=True)


@pytest.fixture
def stranger(shop: Shop) -> User:
    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return user


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
    user = User.objects.create_user("someone@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=role)
    client = client_of(user)
    begun = client.post("/api/v1/payments", TOPUP)
    assert begun.status_code == (201 if may else 403)
    assert client.post("/api/v1/auto-recharge", RULE).status_code == (200 if may else 403)
    if may:
        assert begun.json()["checkout_url"].startswith(stripe_url)
        assert begun.json()["payment"]["state"] == "pending"
        shown = client.get("/api/v1/auto-recharge/acme").json()
        assert shown == {**RULE, "failures": 0, "failure": "", "retry_at": None}


def test_a_key_does_not_pay(shop: Shop) -> None:
    _, key = api_key_create(organisation=shop.organisation, name="m", scopes=[Scope.MANAGEMENT])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    payment = paid(shop.organisation)
    assert client.get("/api/v1/payments").json()["results"][0]["id"] == str(payment.pk)
    for path in ("payments", "auto-recharge", "grants", f"payments/{payment.pk}/refund"):
        body: dict[str, Any] = {**RULE, "amount_nano": 1, "reason": "x"}
        assert client.post(f"/api/v1/{path}", body).status_code == 403, path


def test_strangers_see_and_pay_nothing(shop: Shop, stranger: User) -> None:
    payment = paid(shop.organisation)
    client = client_of(stranger)
    assert client.get("/api/v1/payments").json()["results"] == []
    assert client.get(f"/api/v1/payments/{payment.pk}").status_code == 404
    assert client.get("/api/v1/auto-recharge/acme").status_code == 404
    assert client.post("/api/v1/payments", TOPUP).status_code == 404
    assert client.post("/api/v1/auto-recharge", RULE).status_code == 404


def test_a_payment_shows_what_went_back(shop: Shop) -> None:
    payment = paid(shop.organisation)
    deliver(event("refund.created", refund(payment, 500)))
    deliver(event("charge.dispute.created", dispute(payment, 2_000)))
    shown = client_of(shop.owner).get(f"/api/v1/payments/{payment.pk}").json()
    assert (shown["state"], shown["amount_cents"]) == ("succeeded", 2_500)
    assert [row["amount_cents"] for row in shown["refunds"]] == [500]
    assert [row["state"] for row in shown["disputes"]] == ["open"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("payments", {**TOPUP, "amount_cents": 1}, 400),
        ("payments", {**TOPUP, "amount_cents": 12.5}, 400),
        ("payments", TOPUP, 503),
        ("auto-recharge", RULE, 400),
        ("auto-recharge", {**RULE, "threshold_cents": -1}, 400),
    ],
)
def test_what_does_not_work_is_a_problem_document(
    shop: Shop, path: str, body: dict[str, Any], status: int
) -> None:
    answer = client_of(shop.owner).post(f"/api/v1/{path}", body)
    assert answer.status_code == status
    assert answer["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_staff_refund(shop: Shop, staff: User, stripe_url: str) -> None:
    payment = paid_at_stripe(shop.organisation)
    path, body = f"/api/v1/payments/{payment.pk}/refund", {"amount_cents": 500, "reason": "asked"}
    assert client_of(shop.owner).post(path, body).status_code == 403
    made = client_of(staff).post(path, body)
    assert (made.status_code, made.json()["state"]) == (201, "succeeded")
    assert Refund.objects.get().requested_by == staff
    assert client_of(staff).post(path, {**body, "amount_cents": 2_001}).status_code == 400
    assert client_of(staff).post("/api/v1/payments/nonsense/refund", body).status_code == 404


def test_a_refund_that_is_sent_twice_is_paid_once(shop: Shop, staff: User, stripe_url: str) -> None:
    payment = paid_at_stripe(shop.organisation)
    path, body = f"/api/v1/payments/{payment.pk}/refund", {"amount_cents": 500, "reason": "asked"}
    key = {"headers": {"Idempotency-Key": "ticket-7"}}
    once, twice = (client_of(staff).post(path, body, **key) for _ in range(2))
    assert (once.status_code, once.json()["state"]) == (201, "succeeded")
    assert once.json() == twice.json()
    assert Refund.objects.count() == 1
    assert client_of(staff).post(path, {**body, "amount_cents": 501}, **key).status_code == 400
    assert client_of(staff).post(path, body).status_code == 201
    assert Refund.objects.count() == 2


def test_staff_grant_with_a_reason(shop: Shop, staff: User) -> None:
    body = {"organisation": "acme", "amount_nano": USD, "reason": "an outage"}
    assert client_of(shop.owner).post("/api/v1/grants", body).status_code == 403
    assert client_of(staff).post("/api/v1/grants", {**body, "reason": ""}).status_code == 400
    assert (
        client_of(staff).post("/api/v1/grants", {**body, "amount_nano": 10**17}).status_code == 400
    )
    made = client_of(staff).post("/api/v1/grants", body)
    assert made.status_code == 201
    row = StaffTransfer.objects.get()
    assert (row.reason, row.ordered_by, row.transfer.amount_nano) == ("an outage", staff, USD)
    (shown,) = client_of(shop.owner).get("/api/v1/grants").json()["results"]
    assert shown == made.json()
    assert client_of(staff).get("/api/v1/grants").json()["results"] == []


def test_a_grant_that_is_sent_twice_gives_once(shop: Shop, staff: User) -> None:
    body = {"organisation": "acme", "amount_nano": USD, "reason": "an outage"}
    key = {"headers": {"Idempotency-Key": "ticket-7"}}
    once, twice = (client_of(staff).post("/api/v1/grants", body, **key) for _ in range(2))
    assert once.json() == twice.json()
    assert StaffTransfer.objects.count() == 1
    other = client_of(staff).post("/api/v1/grants", {**body, "amount_nano": 2 * USD}, **key)
    assert other.status_code == 400
    long = {"headers": {"Idempotency-Key": "x" * 300}}
    assert client_of(staff).post("/api/v1/grants", body, **long).status_code == 400


def test_what_is_owed_is_on_the_account(shop: Shop) -> None:
    payment = paid(shop.organisation)
    deliver(event("charge.dispute.created", dispute(payment, 4_000)))
    balance = "/api/v1/ledger/accounts/balance?organisation=acme"
    shown = client_of(shop.owner).get(balance).json()
    assert (shown["available_nano"], shown["owed_nano"]) == (0, 5 * USD)
    assert Payment.objects.count() == 1
