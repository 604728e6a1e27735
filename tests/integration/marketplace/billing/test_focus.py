"""The month's charges in FOCUS 1.2: https://github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec."""

from __future__ import annotations

import csv
import json
import re
import time
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.billing.invoices.months import Month
from marketplace.billing.invoices.selectors import charges
from marketplace.catalog.models import Offer
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

DECIMAL = re.compile(r"-?\d+(\.\d+)?")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TEXT = re.compile(r"(?s).+")
MANDATORY = {
    "BilledCost": DECIMAL,
    "BillingAccountId": TEXT,
    "BillingAccountName": None,
    "BillingCurrency": re.compile(r"[A-Z]{3}"),
    "BillingPeriodEnd": MOMENT,
    "BillingPeriodStart": MOMENT,
    "ChargeCategory": re.compile(r"Usage|Purchase|Tax|Credit|Adjustment"),
    "ChargeClass": None,
    "ChargeDescription": None,
    "ChargePeriodEnd": MOMENT,
    "ChargePeriodStart": MOMENT,
    "ContractedCost": DECIMAL,
    "EffectiveCost": DECIMAL,
    "InvoiceIssuerName": TEXT,
    "ListCost": DECIMAL,
    "PricingQuantity": None,
    "PricingUnit": None,
    "ProviderName": TEXT,
    "PublisherName": TEXT,
    "ServiceCategory": TEXT,
    "ServiceName": TEXT,
}
"""Each mandatory column of version 1.2, and what a value of it is; None if it may be null."""
OF_USAGE = {
    "ConsumedQuantity": DECIMAL,
    "ConsumedUnit": TEXT,
    "ContractedUnitPrice": DECIMAL,
    "ListUnitPrice": DECIMAL,
    "PricingCategory": re.compile(r"Standard|Dynamic|Committed|Other"),
    "PricingQuantity": DECIMAL,
    "PricingUnit": TEXT,
    "SkuId": TEXT,
    "SkuMeter": TEXT,
    "SkuPriceId": TEXT,
}
"""What is not null either where the category is Usage."""


def exported(client: Client, month: Month) -> list[dict[str, str]]:
    response = client.get(f"/billing/focus/{month}.csv")
    assert response.status_code == 200
    return list(csv.DictReader(b"".join(response.streaming_content).decode().splitlines()))  # type: ignore[attr-defined]


def test_the_columns_are_as_specified_and_the_rows_add_up(shop: Shop, owner: Client) -> None:
    now_ms = int(time.time() * 1000)
    row, _key = api_key_create(
        organisation=shop.organisation, created_by=shop.owner, name="=nightly"
    )
    settled_call(shop, key_id=row.pk, model="author/slug", created_at_ms=now_ms)
    # 333 tokens cost 6,660 nano: one call was charged 7 more than its meter says.
    settle(
        record(
            account_id=shop.customer_account.pk,
            organisation_id=shop.organisation.pk,
            provider_account_id=shop.provider_account.pk,
            price_id=Offer.objects.get().pk,
            model="author/slug",
            user_id=shop.owner.pk,
            prompt_tokens=333,
            charge_nano=6_667,
        )
    )
    month = Month.of(timezone.now())
    rows = exported(owner, month)
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Adjustment"}
    for one in rows:
        wanted = MANDATORY | (OF_USAGE if one["ChargeCategory"] == "Usage" else {})
        wrong = {n: one[n] for n, form in wanted.items() if form and not form.fullmatch(one[n])}
        assert wrong == {}
        if one["ListUnitPrice"]:
            product = Decimal(one["ListUnitPrice"]) * Decimal(one["PricingQuantity"])
            assert product == Decimal(one["ListCost"])
    billed_nano = sum(Decimal(one["BilledCost"]) for one in rows) * 10**9
    assert -billed_nano == sum(line.amount_nano for line in charges(shop.customer_account, month))
    keyed = next(one for one in rows if one["SubAccountId"])
    assert (keyed["SubAccountName"], keyed["PublisherName"]) == ("'=nightly", "Northyard Compute")
    assert (keyed["PricingQuantity"], keyed["PricingUnit"]) == ("0.001", "1000000 Tokens")
    tagged = next(one for one in rows if one["Tags"])
    assert json.loads(tagged["Tags"]) == {"member": "owner@example.com"}
    assert exported(owner, month.previous) == []
    for unknown in ("2026-13", "0000-01", "9999-12"):
        assert owner.get(f"/billing/focus/{unknown}.csv").status_code == 404


def test_fees_of_own_endpoints_are_calls_at_a_price(shop: Shop, owner: Client) -> None:
    """Their price is no offer: they were adjustments for calls "whose records are gone"."""
    given = {
        "account_id": shop.customer_account.pk,
        "organisation_id": shop.organisation.pk,
        "provider_account_id": 0,
        "deployment_id": -1,
        "price_id": 0,
    }
    for _call in range(2):
        settle(record(**given, model="~acme/llama", charge_nano=70, commission_nano=70))
    for fee in (70, 71):
        settle(record(**given, model="~acme/other", charge_nano=fee, commission_nano=fee))
    rows = exported(owner, Month.of(timezone.now()))
    assert [
        (row["ChargeCategory"], row["ChargeDescription"], row["ConsumedQuantity"]) for row in rows
    ] == [
        ("Usage", "Calls of ~acme/llama", "2"),
        ("Adjustment", "Fees of 2 calls of ~acme/other", ""),
    ]
    assert [row["BilledCost"] for row in rows] == ["0.00000014", "0.000000141"]


def test_a_stranger_gets_nothing_of_it(shop: Shop) -> None:
    settled_call(shop)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    assert exported(signed_in(stranger), Month.of(timezone.now())) == []
