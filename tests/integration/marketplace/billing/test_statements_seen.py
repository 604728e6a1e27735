"""Who may see and download invoices, payout statements, earnings and payouts, and quotes."""

import csv
import io
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.billing.invoices.earnings import earnings_of
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.services import statements_issue
from marketplace.billing.models import Account, AccountKind
from marketplace.billing.services import payout_record
from marketplace.catalog.services import offer_publish
from router.domain.pricing import Price
from tests.integration.marketplace.ledger import USD, post_at, record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

OCTOBER = Month(2026, 10)


def client_of(user: User | None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


@pytest.fixture
def stated(shop: Shop) -> Shop:
    """October is issued for a customer and for the provider that another organisation runs."""
    seller = User.objects.create_user("seller@example.com")
    shop.provider.organisation = organisation_create(name="Yard", slug="yard", owner=seller)
    shop.provider.save()
    cash = Account.objects.get(kind=AccountKind.CASH)
    day = OCTOBER.start + timedelta(days=3)
    post_at(cash.pk, shop.customer_account.pk, 7 * USD, day)
    post_at(
        shop.customer_account.pk, shop.provider_account.pk, 2 * USD, day, kind="charge_provider"
    )
    statements_issue(month=OCTOBER)
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            charge_nano=USD,
            commission_nano=USD // 10,
        )
    )
    return shop


@pytest.fixture
def seller(stated: Shop) -> User:
    return User.objects.get(email="seller@example.com")


def numbers(client: APIClient, path: str) -> list[str]:
    return [row["number"] for row in client.get(f"/api/v1/{path}").json()["results"]]


def test_each_sees_its_own_statements_and_no_others(stated: Shop, seller: User) -> None:
    customer, provider = client_of(stated.owner), client_of(seller)
    (invoice,) = numbers(customer, "invoices")
    (statement,) = numbers(provider, "payout-statements")
    assert (invoice[:3], statement[:3]) == ("WI-", "WP-")
    assert numbers(customer, "payout-statements") == numbers(provider, "invoices") == []
    for client, path in (
        (customer, f"payout-statements/{statement}"),
        (provider, f"invoices/{invoice}"),
    ):
        for file in ("", "/pdf", "/csv"):
            refused = client.get(f"/api/v1/{path}{file}")
            assert (refused.status_code, refused["content-type"]) == (
                404,
                "application/problem+json",
            )
    assert client_of(None).get("/api/v1/invoices").status_code == 401


def test_an_invoice_over_the_api(stated: Shop) -> None:
    client = client_of(stated.owner)
    (listed,) = client.get("/api/v1/invoices?period=2026-10&organisation=acme").json()["results"]
    assert (listed["period"], listed["organisation"], listed["provider"]) == (
        "2026-10",
        "acme",
        None,
    )
    assert (listed["charges_nano"], listed["closing_nano"]) == (2 * USD, 5 * USD)
    whole = client.get(f"/api/v1/invoices/{listed['number']}").json()
    assert [line["amount_nano"] for line in whole["lines"]] == [7 * USD, -2 * USD]
    assert whole["lines"][0]["kind"] == "grant"
    assert whole["lines"][1]["usage"]["prompt_tokens"] == 0
    assert client.get("/api/v1/invoices?period=2026-09").json()["results"] == []
    assert client.get("/api/v1/invoices?period=October").status_code == 400
    assert client.post("/api/v1/invoices", {}).status_code == 405


def test_files_are_downloaded_over_page_and_api(stated: Shop) -> None:
    api, page = client_of(stated.owner), Client()
    page.force_login(stated.owner)
    (number,) = numbers(api, "invoices")
    for answer in (api.get(f"/api/v1/invoices/{number}/pdf"), page.get(f"/billing/{number}.pdf")):
        assert answer["content-type"] == "application/pdf"
        assert answer["content-disposition"] == f'attachment; filename="{number}.pdf"'
        assert answer.content.startswith(b"%PDF-")
    for answer in (api.get(f"/api/v1/invoices/{number}/csv"), page.get(f"/billing/{number}.csv")):
        assert answer["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
        assert rows[-1]["amount_usd"] == "5"
    stranger = signed_in(User.objects.get(email="seller@example.com"))
    assert stranger.get(f"/billing/{number}.pdf").status_code == 404
    assert Client().get(f"/billing/{number}.pdf").status_code == 302


def test_the_billing_page_lists_invoices(stated: Shop) -> None:
    page = signed_in(stated.owner)
    body = page.get("/billing").content.decode()
    assert "October 2026" in body
    assert f"/billing/{numbers(client_of(stated.owner), 'invoices')[0]}.pdf" in body
    assert "/earnings" not in body


def test_earnings_come_from_statements_and_for_the_open_month_from_the_ledger(
    stated: Shop, seller: User
) -> None:
    now, october = earnings_of(stated.provider)
    assert (now.month, now.statement) == (str(Month.of(timezone.now())), "")
    assert (now.charged_nano, now.commission_nano, now.earned_nano) == (
        USD,
        USD // 10,
        USD * 9 // 10,
    )
    assert (october.month, october.earned_nano) == ("2026-10", 2 * USD)
    rows = client_of(seller).get("/api/v1/earnings?provider=northyard").json()
    assert [row["statement"] for row in rows] == ["", october.statement]
    assert client_of(stated.owner).get("/api/v1/earnings?provider=northyard").status_code == 404


def test_the_earnings_page_shows_what_is_due_and_was_paid(stated: Shop, seller: User) -> None:
    payout_record(
        provider=stated.provider, amount_nano=USD, reference="WIRE-7", ordered_by=stated.owner
    )
    page = signed_in(seller)
    body = page.get("/earnings").content.decode()
    for shown in ("Northyard Compute", "$1.90", "WIRE-7", "October 2026", "10 %"):
        assert shown in body
    assert "/earnings" in page.get("/billing").content.decode()
    other = signed_in(stated.owner)
    assert "has no provider" in other.get("/earnings").content.decode()


def test_staff_record_payouts_over_the_api(stated: Shop, seller: User) -> None:
    root = client_of(User.objects.create_superuser("root@example.com"))
    body = {"provider": "northyard", "amount_nano": USD, "reference": "WIRE-8"}
    first = root.post("/api/v1/payouts", body)
    assert first.status_code == 201
    assert root.post("/api/v1/payouts", body).json() == first.json()
    too_much = root.post("/api/v1/payouts", {**body, "amount_nano": 2 * USD, "reference": "W-9"})
    assert (too_much.status_code, too_much.json()["detail"]) == (
        400,
        "Northyard Compute has $1.90 to be paid out, not $2.00.",
    )
    beyond = {**body, "amount_nano": 10**25, "reference": "W-9"}
    assert root.post("/api/v1/payouts", beyond).status_code == 400
    assert client_of(seller).post("/api/v1/payouts", body).status_code == 403
    (seen,) = client_of(seller).get("/api/v1/payouts").json()["results"]
    assert (seen["provider"], seen["reference"]) == ("northyard", "WIRE-8")
    assert client_of(stated.owner).get("/api/v1/payouts").json()["results"] == []


def test_a_quote_names_its_price_version_and_lines(shop: Shop) -> None:
    offer = offer_publish(
        deployment=shop.deployment,
        price=Price(id=0, prompt_nano_per_million=500_000, second_nano=1_500),
    )
    query = "/api/v1/quotes?model=author/slug&prompt_tokens=1&seconds=0.001"
    (quote,) = client_of(None).get(query).json()
    assert (quote["provider"], quote["price_id"]) == ("northyard", offer.pk)
    assert quote["effective_at"].startswith(offer.effective_at.isoformat()[:19])
    assert quote["lines"] == [
        {"item": "prompt_tokens", "quantity": 1, "unit_nano": 500_000, "per": 1_000_000},
        {"item": "hardware_ms", "quantity": 1, "unit_nano": 1_500, "per": 1_000},
    ]
    assert (quote["charge_nano"], quote["charge_usd"]) == (2, "0.000000002")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("model=a/b", 404),
        ("", 400),
        ("model=author/slug&rows=-1", 400),
        ("model=author/slug&seconds=1e9", 400),
    ],
)
def test_a_quote_says_what_is_wrong(shop: Shop, query: str, status: int) -> None:
    answer = client_of(None).get(f"/api/v1/quotes?{query}")
    assert (answer.status_code, answer["content-type"]) == (status, "application/problem+json")


def test_the_providers_tab_has_every_price_version(shop: Shop) -> None:
    later = timezone.now() + timedelta(days=1)
    offer_publish(deployment=shop.deployment, price=Price(id=0, request_nano=USD))
    offer_publish(
        deployment=shop.deployment, price=Price(id=0, second_nano=2 * USD), effective_at=later
    )
    body = Client().get("/models/author/slug?tab=providers").content.decode()
    assert "Price history" in body
    assert (body.count(">in force<"), body.count(">upcoming<")) == (1, 1)
    assert "per second of hardware" in body


@pytest.mark.parametrize(
    "path", ["/billing/a%00.csv", "/usage?model=%00", "/api/v1/earnings?provider=%00"]
)
def test_a_name_that_postgresql_cannot_hold_is_refused(stated: Shop, path: str) -> None:
    assert client_of(stated.owner).get(path).status_code == 400
