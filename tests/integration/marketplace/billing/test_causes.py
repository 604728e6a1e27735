"""Every transfer has a cause: the proof names each one that was written without."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.billing.models import (
    StaffTransfer,
    Transfer,
    TransferKind,
)
from marketplace.billing.payments.books.transfers import receivable_account_open
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.billing.services import payout_record, provider_account_open
from marketplace.catalog.models import Provider
from marketplace.catalog.services import provider_create
from marketplace.usage.partitions import id_floor
from router.contracts.record import UsageRecord
from tests.integration.marketplace.ledger import (
    USD,
    forge,
    intrude,
    lease_close,
    lease_take,
    record,
    settle,
)
from tests.integration.marketplace.shop import Shop, open_shop

PARTIES = {
    TransferKind.TOPUP: ("cash", "customer"),
    TransferKind.GRANT: ("grants", "customer"),
    TransferKind.CHARGE_PROVIDER: ("customer", "provider"),
    TransferKind.CHARGE_COMMISSION: ("customer", "commission"),
    TransferKind.REVERSAL: ("customer", "grants"),
    TransferKind.COVER: ("expense", "customer"),
    TransferKind.PAYOUT: ("provider", "payouts"),
    TransferKind.REFUND: ("customer", "cash"),
    TransferKind.REFUND_RETURN: ("cash", "customer"),
    TransferKind.DISPUTE: ("customer", "cash"),
    TransferKind.DISPUTE_RETURN: ("cash", "customer"),
    TransferKind.DEBT_PAYMENT: ("provider", "receivable"),
    TransferKind.WRITE_OFF: ("expense", "receivable"),
}
"""Between whom each kind is forged: as it should be, but for what is posted without an order."""


@pytest.fixture(scope="module")
def opened(kept_database: None) -> Shop:
    shop = open_shop()
    receivable_account_open(organisation=shop.organisation)
    settle(_charged(shop, USD))
    # A debt, which a payment of it or a write-off lowers.
    forge("receivable", "cash", 10, kind="refund")
    return shop


@pytest.fixture
def shop(opened: Shop) -> Iterator[Shop]:
    with transaction.atomic():
        yield opened
        transaction.set_rollback(True)


def other_provider() -> Provider:
    return provider_create(slug="southyard", name="Southyard")


def _charged(shop: Shop, charge: int, **values: object) -> UsageRecord:
    return record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=charge,
        **values,
    )


@pytest.mark.parametrize("kind", list(TransferKind))
def test_a_forged_transfer_of_each_kind_is_seen(shop: Shop, kind: TransferKind) -> None:
    debit, credit = PARTIES[kind]
    before = set(ledger_proof().gaps)
    number = forge(debit, credit, 5, kind=kind)
    found = set(ledger_proof().gaps) - before
    assert any(f"transfer {number} ({kind}, 5 nano)" in gap for gap in found), found


@pytest.mark.parametrize(
    ("debit", "credit", "kind"),
    [
        ("cash", "provider", "topup"),
        ("expense", "customer", "grant"),
        ("customer", "payouts", "payout"),
        ("customer", "commission", "write_off"),
    ],
)
def test_a_transfer_between_accounts_that_do_not_fit_is_seen(
    shop: Shop, debit: str, credit: str, kind: str
) -> None:
    number = forge(debit, credit, 5, kind=kind)
    (gap,) = (gap for gap in ledger_proof().gaps if f"transfer {number} " in gap and "goes" in gap)
    assert f"goes from a {debit} to a {credit} account" in gap


def test_a_charge_beside_a_calls_own_is_seen(shop: Shop) -> None:
    """To the nano, by the other part's name, or to another provider."""
    call = _charged(shop, 1_000, commission_nano=100)
    settle(call)
    before = set(ledger_proof().gaps)
    forge("customer", "provider", 1, kind="charge_provider", request_id=call.request_id)
    (gap,) = set(ledger_proof().gaps) - before
    assert f"call {call.request_id} charged 1000 nano, its transfers sum to 1001" in gap


@pytest.mark.parametrize("change", ["kind = 'charge_commission'", "debit_id = {provider}"])
def test_a_charge_that_was_bent_is_seen(shop: Shop, change: str) -> None:
    call = _charged(shop, 1_000, commission_nano=100)
    settle(call)
    before = set(ledger_proof().gaps)
    change = change.format(provider=provider_account_open(provider=other_provider()).pk)
    intrude(
        f"UPDATE billing_transfer SET {change} WHERE request_id = %s AND kind = 'charge_provider'",
        call.request_id,
    )
    found = set(ledger_proof().gaps) - before
    assert any("transfers of other parties or parts" in gap for gap in found), found


def test_a_late_charge_for_an_earlier_call_is_seen_in_the_short_proof(shop: Shop) -> None:
    today = timezone.now()
    earlier = str(id_floor(today - timedelta(days=9)))
    before = set(ledger_proof(recent_only=True).gaps)
    number = forge("customer", "provider", 5, kind="charge_provider", request_id=earlier)
    found = set(ledger_proof(recent_only=True).gaps) - before
    assert found == {f"transfer {number} (charge_provider, 5 nano) charges no call"}


def test_a_cover_of_more_than_the_late_calls_cost_is_seen(shop: Shop) -> None:
    # Who owes gets no lease.
    forge("expense", "receivable", 10, kind="write_off")
    account = shop.customer_account
    lease = lease_take(account.pk, 1, account.available_nano)
    assert lease is not None
    lease_close(lease)
    late = _charged(shop, account.available_nano + 70, lease_id=lease)
    before = set(ledger_proof().gaps)
    settle(late)
    assert set(ledger_proof().gaps) == before
    number = Transfer.objects.get(kind="cover").pk
    for amount in (account.available_nano + 70, account.available_nano + 71):
        intrude("UPDATE billing_transfer SET amount_nano = %s WHERE id = %s", amount, number)
        seen = any(f"transfer {number} (cover" in gap for gap in ledger_proof().gaps)
        assert seen == (amount == account.available_nano + 71)


def test_an_order_serves_for_one_transfer_of_its_organisation(shop: Shop) -> None:
    other = organisation_create(name="Other", slug="other", owner=shop.owner)
    order = grant_order(
        organisation=shop.organisation, amount_nano=5, reason="A gift.", ordered_by=shop.owner
    )
    before = set(ledger_proof().gaps)
    intrude(
        "UPDATE billing_stafftransfer SET organisation_id = %s WHERE transfer_id = %s",
        other.pk,
        order.pk,
    )
    (gap,) = set(ledger_proof().gaps) - before
    assert "has the order of another organisation" in gap


def test_an_explained_transfer_closes_its_gap(shop: Shop) -> None:
    before = set(ledger_proof().gaps)
    number = forge("grants", "customer", 5, kind="grant")
    User.objects.create_user("auditor@example.com", is_staff=True)
    with pytest.raises(CommandError, match="nobody of the staff"):
        call_command("ledger", "explain", str(number), reason="Known.", by="owner@example.com")
    call_command("ledger", "explain", str(number), reason="Known.", by="auditor@example.com")
    assert set(ledger_proof().gaps) == before
    order = StaffTransfer.objects.get(pk=number)
    assert (order.organisation, order.ordered_by.email) == (
        shop.organisation,
        "auditor@example.com",
    )


def test_nobody_answers_for_money_without_its_payment(shop: Shop) -> None:
    number = forge("cash", "customer", 5, kind="topup")
    User.objects.create_user("auditor@example.com", is_staff=True)
    with pytest.raises(CommandError, match="kind topup has no order"):
        call_command("ledger", "explain", str(number), reason="x", by="auditor@example.com")


def test_a_reversal_by_hand_names_who_ordered_it(shop: Shop) -> None:
    before = set(ledger_proof().gaps)
    User.objects.create_user("auditor@example.com", is_staff=True)
    order = grant_order(
        organisation=shop.organisation, amount_nano=5, reason="A gift.", ordered_by=shop.owner
    )
    for _ in range(2):
        call_command("ledger", "reverse", str(order.pk), reason="Wrong.", by="auditor@example.com")
    reversal = Transfer.objects.get(idem_key=f"reversal:{order.pk}")
    assert reversal.staff_order.reason == "Wrong."
    assert set(ledger_proof().gaps) == before
    with pytest.raises(CommandError, match="no transfer 987654321"):
        call_command("ledger", "reverse", "987654321", reason="x", by="auditor@example.com")


def test_a_payout_is_in_a_statement_a_week_after_its_month(shop: Shop) -> None:
    before = set(ledger_proof().gaps)
    payout = payout_record(
        provider=shop.provider, amount_nano=5, reference="wire", ordered_by=shop.owner
    )
    assert set(ledger_proof().gaps) == before
    intrude("UPDATE billing_transfer SET created_at = '2026-01-31Z' WHERE id = %s", payout.pk)
    found = set(ledger_proof().gaps) - before
    assert any(f"transfer {payout.pk} (payout, 5 nano) is in no statement" in gap for gap in found)
