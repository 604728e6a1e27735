"""What moved a balance: as rows of the billing page and as a file."""

import csv
import time

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.billing.models import Account
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.ledger import USD, credit_grant, post_at, record, settle
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    """Three calls of two models today and one yesterday, and a grant that is called a formula."""
    now_ms = int(time.time() * 1000)
    for model, at_ms in (
        ("a/a", now_ms),
        ("a/a", now_ms),
        ("b/b", now_ms),
        ("a/a", now_ms - DAY_MS),
    ):
        settled_call(kept_shop, model=model, created_at_ms=at_ms, commission_nano=2_000)
    free = record(
        account_id=kept_shop.customer_account.pk,
        organisation_id=kept_shop.organisation.pk,
        provider_account_id=kept_shop.provider_account.pk,
        model="free/one",
    )
    settle(free)
    credit_grant(organisation=kept_shop.organisation, amount_nano=3 * USD, idem_key="grant:=1+1")
    return kept_shop


def test_calls_are_one_row_for_each_day_and_model(shop: Shop, owner: Client) -> None:
    page = owner.get("/billing")
    rows = page.context["movements"]
    calls = [(row.model, row.calls, row.amount_nano) for row in rows if row.transfer is None]
    assert calls == [("a/a", 2, -40_000), ("b/b", 1, -20_000), ("a/a", 1, -20_000)]
    balance = Account.objects.get(pk=shop.customer_account.pk).posted_nano
    assert sum(row.amount_nano for row in rows) == balance
    day = timezone.now().date()
    shown = f"/usage?range=custom&amp;from={day}&amp;to={day}&amp;model=a%2Fa"
    assert shown in page.content.decode()


def test_the_file_has_dollars_names_and_no_formulas(shop: Shop, owner: Client) -> None:
    lines = b"".join(owner.get("/billing.csv").streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(lines))
    assert len(rows) == len(owner.get("/billing").context["movements"])
    today = next(row for row in rows if row["kind"] == "calls")
    assert (today["model"], today["calls"], today["amount_usd"]) == ("a/a", "2", "-0.00004")
    given = next(row for row in rows if row["amount_usd"] == "3")
    assert (given["kind"], given["reference"]) == ("grant", "'=1+1")


def test_a_charge_of_no_call_is_a_row_of_its_own(shop: Shop, owner: Client) -> None:
    ours, theirs = shop.customer_account.pk, shop.provider_account.pk
    post_at(ours, theirs, 7, timezone.now(), kind="charge_provider")
    row = owner.get("/billing").context["movements"][0]
    assert (row.amount_nano, row.party, row.transfer.kind) == (
        -7,
        "Northyard Compute",
        "charge_provider",
    )
