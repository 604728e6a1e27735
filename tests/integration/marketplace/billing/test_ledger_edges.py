"""The ledger's functions at their edges: the last nano, the other router, the window that has not
ended. One shop for the module; what a test does is undone.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, transaction

from marketplace.accounts.models import ApiKey
from marketplace.accounts.services import api_key_create
from marketplace.billing.models import Account, Budget, Lease, Transfer, Window
from marketplace.billing.payments.books.transfers import receivable_account_open
from marketplace.billing.proof.ledger import ledger_proof
from router.contracts.record import UsageRecord
from tests.integration.marketplace.ledger import (
    USD,
    as_owner,
    call,
    intrude,
    lease_close,
    lease_take,
    post_at,
    record,
    settle,
)
from tests.integration.marketplace.shop import Shop, open_shop

ALL = 10 * USD
TAKE = "SELECT * FROM billing_lease_take(%s, 'r1', 'life', %s, %s, %s, %s, %s)"
POST = "SELECT billing_transfer_post(%s, %s, %s, %s, %s)"


@pytest.fixture(scope="module")
def opened(kept_database: None) -> Shop:
    return open_shop()


@pytest.fixture
def shop(opened: Shop) -> Iterator[Shop]:
    with transaction.atomic():
        yield opened
        transaction.set_rollback(True)


def budget_of(shop: Shop, **values: Any) -> Budget:
    return Budget.objects.create(organisation=shop.organisation, **{"limit_nano": 500, **values})


def charged(shop: Shop, charge: int, lease: UUID | None = None, **values: Any) -> UsageRecord:
    return record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=charge,
        lease_id=lease or "",
        **values,
    )


def amount_of(lease: UUID | None) -> int:
    return Lease.objects.get(pk=lease).amount_nano


# Leases


@pytest.mark.parametrize(
    ("need", "want", "ttl_s"), [(-1, 5, 60), (6, 5, 60), (1, 5, 0), (1, 5, -1)]
)
def test_a_lease_that_makes_no_sense_is_refused(
    shop: Shop, need: int, want: int, ttl_s: float
) -> None:
    with pytest.raises(DatabaseError, match="0 <= need <= want"), transaction.atomic():
        call(TAKE, uuid4(), shop.customer_account.pk, [], need, want, ttl_s)


def test_the_last_nano_can_be_leased_and_not_one_more(shop: Shop) -> None:
    account = shop.customer_account.pk
    assert call(TAKE, uuid4(), account, [], ALL + 1, ALL + 1, 60) == [(0, None, 0, ALL, 0)]
    assert amount_of(lease_take(account, ALL, ALL)) == ALL
    assert call(TAKE, uuid4(), account, [], 0, 1, 60) == [(0, None, 0, 0, ALL)]


def test_a_lease_lasts_as_long_as_was_asked(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 1, 1)
    for seconds in (60, 900):
        if seconds == 900:
            call("SELECT billing_lease_extend(%s, 900)", lease)
        left = Lease.objects.get(pk=lease).expires_at - datetime.now(UTC)
        assert timedelta(seconds=seconds - 30) < left < timedelta(seconds=seconds + 30)


def test_routers_that_are_there_get_an_even_part_of_all_there_is(shop: Shop) -> None:
    for name, until in (("a", "1 hour"), ("b", "1 hour"), ("gone", "-1 second")):
        call(
            "INSERT INTO routing_router VALUES (%s, 'http://x', '{}', now() + %s::interval)",
            name,
            until,
        )
    account = shop.customer_account.pk
    assert amount_of(lease_take(account, 1, ALL)) == ALL // 2
    # Half of all, not of what the first one left.
    assert amount_of(lease_take(account, 1, ALL)) == ALL // 2


def test_a_call_gets_what_it_needs_beyond_its_routers_part(shop: Shop) -> None:
    call("INSERT INTO routing_router VALUES ('a', 'x', '{}', now() + '1 hour'::interval)")
    call("INSERT INTO routing_router VALUES ('b', 'x', '{}', now() + '1 hour'::interval)")
    assert amount_of(lease_take(shop.customer_account.pk, 7 * USD, ALL)) == 7 * USD


def test_a_budget_bounds_a_lease_and_is_named_when_it_is_short(shop: Shop) -> None:
    account, budget = shop.customer_account.pk, budget_of(shop)
    assert call(TAKE, uuid4(), account, [budget.pk], 501, 501, 60) == [(0, None, budget.pk, 500, 0)]
    assert amount_of(lease_take(account, 500, 600, budgets=(budget.pk,))) == 500
    assert call(TAKE, uuid4(), account, [budget.pk], 1, 1, 60) == [(0, None, budget.pk, 0, 500)]
    assert amount_of(lease_take(account, 501, 501)) == 501


def test_a_lease_is_shrunk_to_what_it_has_spent_at_most(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 1, 1_000)
    settle(charged(shop, 200, lease))
    for asked, kept in ((1_001, 1_000), (1_000, 1_000), (600, 600), (700, 600), (100, 200)):
        call("SELECT billing_lease_shrink(%s, %s)", lease, asked)
        assert amount_of(lease) == kept
        assert shop.customer_account.held_nano == kept - 200


def test_a_closed_lease_stays_as_it_was(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 1, 1_000)
    settle(charged(shop, 200, lease))
    assert lease is not None
    assert lease_close(lease) == 800
    call("SELECT billing_lease_shrink(%s, 300)", lease)
    assert (amount_of(lease), lease_close(lease), shop.customer_account.held_nano) == (1_000, 0, 0)


def test_only_the_earlier_lives_of_the_same_router_are_closed(shop: Shop) -> None:
    account = shop.customer_account.pk
    for router, life, amount in (("r1", "1", 10), ("r1", "2", 20), ("r2", "1", 40)):
        call(
            "SELECT billing_lease_take(%s, %s, %s, %s, '{}', 1, %s, 60)",
            uuid4(),
            router,
            life,
            account,
            amount,
        )
    assert call("SELECT billing_lease_close_earlier('r1', '2')") == [(10,)]
    assert shop.customer_account.held_nano == 60


# Budgets


@pytest.mark.parametrize(
    ("window", "age", "is_over"),
    [
        (Window.EVER, "400 days", False),
        (Window.DAY, "1 day", True),
        (Window.WEEK, "7 days", True),
        (Window.MONTH, "31 days", True),
        (Window.DAY, "0 days", False),
        (Window.MONTH, "0 days", False),
    ],
)
def test_only_a_window_that_is_over_starts_again(
    shop: Shop, window: Window, age: str, is_over: bool
) -> None:
    account = shop.customer_account.pk
    asked, other = budget_of(shop, window=window), budget_of(shop, user=shop.owner, window=window)
    both = (asked.pk, other.pk)
    settle(charged(shop, 300, lease_take(account, 1, 300, budgets=both)))
    intrude("UPDATE billing_budget SET window_starts_at = now() - %s::interval", age)
    assert lease_take(account, 1, 1, budgets=(asked.pk,))
    asked.refresh_from_db()
    other.refresh_from_db()
    assert asked.spent_nano == (0 if is_over else 300)
    assert other.spent_nano == 300
    if is_over:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        assert (
            asked.window_starts_at
            in {
                Window.DAY: {today, today - timedelta(days=1)},
                Window.WEEK: {today - timedelta(days=n) for n in range(8)},
                Window.MONTH: {today.replace(day=1), (today - timedelta(days=1)).replace(day=1)},
            }[window]
        )


def test_what_a_budget_has_spent_and_holds_follows_from_its_leases(shop: Shop) -> None:
    account, budget = shop.customer_account.pk, budget_of(shop)
    lease = lease_take(account, 1, 400, budgets=(budget.pk,))
    assert lease is not None
    steps = (
        (lambda: settle(charged(shop, 150, lease)), (150, 250)),
        (lambda: call("SELECT billing_lease_shrink(%s, 200)", lease), (150, 50)),
        (lambda: lease_close(lease), (150, 0)),
    )
    for step, found in steps:
        step()
        budget.refresh_from_db()
        assert (budget.spent_nano, budget.held_nano) == found
    assert ledger_proof().gaps == ()


def test_a_changed_budget_keeps_what_was_spent(shop: Shop) -> None:
    budget = budget_of(shop, window=Window.MONTH)
    lease = lease_take(shop.customer_account.pk, 1, 100, budgets=(budget.pk,))
    settle(charged(shop, 100, lease))
    began = Budget.objects.get(pk=budget.pk).window_starts_at
    call("SELECT billing_budget_change(%s, 900, 'month')", budget.pk)
    budget.refresh_from_db()
    assert (budget.limit_nano, budget.spent_nano, budget.window_starts_at) == (900, 100, began)
    call("SELECT billing_budget_change(%s, 900, 'day')", budget.pk)
    budget.refresh_from_db()
    assert (budget.window, budget.spent_nano) == (Window.DAY, 100)
    assert timedelta(0) <= datetime.now(UTC) - budget.window_starts_at < timedelta(minutes=1)
    with pytest.raises(DatabaseError), transaction.atomic():
        call("SELECT billing_budget_change(%s, 1, 'day')", budget.pk + 1_000)


@pytest.mark.parametrize("what", ["spent_nano", "held_nano"])
def test_a_budget_starts_unspent(shop: Shop, what: str) -> None:
    with pytest.raises(DatabaseError, match="starts unspent"), transaction.atomic():
        budget_of(shop, **{what: 1})


# Transfers


@pytest.mark.parametrize("amount", [0, -1, None])
def test_a_transfer_moves_something(shop: Shop, amount: int | None) -> None:
    ids = shop.provider_account.pk, shop.customer_account.pk
    with pytest.raises(DatabaseError, match="positive amount"), transaction.atomic():
        call(POST, *ids, amount, "k", "grant")


def test_a_transfer_is_between_two_accounts_that_exist(shop: Shop) -> None:
    account = shop.customer_account.pk
    for debit, credit in ((account, account), (account, 10**9), (10**9, account)):
        with pytest.raises(DatabaseError, match="two different accounts"), transaction.atomic():
            call(POST, debit, credit, 1, "k", "grant")
        with pytest.raises(DatabaseError), transaction.atomic():
            post_at(debit, credit, 1, datetime.now(UTC))


@pytest.mark.parametrize(
    "kind", [None, "charge_provider", "charge_commission", "cover", "unheard_of"]
)
def test_a_transfer_that_is_posted_has_a_kind_of_its_own(shop: Shop, kind: str | None) -> None:
    for parties in (("customer", "provider"), ("expense", "customer")):
        ids = [Account.objects.get(kind=party).pk for party in parties]
        with pytest.raises(DatabaseError, match="is settled, not posted"), transaction.atomic():
            call(POST, *ids, 1, "k", kind)


@pytest.mark.parametrize(
    ("kind", "debit", "credit"),
    [
        ("grant", "cash", "customer"),
        ("grant", "grants", "provider"),
        ("topup", "grants", "customer"),
        ("payout", "customer", "payouts"),
        ("refund", "provider", "cash"),
        ("dispute_return", "customer", "cash"),
        ("debt_payment", "provider", "receivable"),
        ("write_off", "cash", "receivable"),
    ],
)
def test_a_kind_moves_money_between_its_own_accounts(
    shop: Shop, kind: str, debit: str, credit: str
) -> None:
    receivable_account_open(organisation=shop.organisation)
    ids = [Account.objects.get(kind=party).pk for party in (debit, credit)]
    with pytest.raises(DatabaseError, match=f"{kind} does not go from"), transaction.atomic():
        call(POST, *ids, 1, "k", kind)


@pytest.mark.parametrize("key", ["k", "reversal:", "reversal:0", "reversal:-1", "reversal:{}x"])
def test_a_reversal_names_what_it_reverses(shop: Shop, key: str) -> None:
    grant = Transfer.objects.get(idem_key="welcome")
    back = grant.credit_id, grant.debit_id
    for amount, named in ((ALL, key.format(grant.pk)), (ALL - 1, f"reversal:{grant.pk}")):
        with pytest.raises(DatabaseError, match="names no transfer"), transaction.atomic():
            call(POST, *back, amount, named, "reversal")
    call(POST, *back, ALL, f"reversal:{grant.pk}", "reversal")


def test_a_key_stands_for_one_transfer_in_every_part(shop: Shop) -> None:
    customer, provider = shop.customer_account.pk, shop.provider_account.pk
    grants = Account.objects.get(kind="grants").pk
    ((first,),) = call(POST, grants, customer, 5, "k", "grant")
    assert call(POST, grants, customer, 5, "k", "grant") == [(first,)]
    for other in (
        (provider, customer, 5, "k", "grant"),
        (grants, provider, 5, "k", "grant"),
        (grants, customer, 6, "k", "grant"),
        (grants, customer, 5, "k", "reversal"),
    ):
        with pytest.raises(DatabaseError, match="another transfer"), transaction.atomic():
            call(POST, *other)
    assert shop.customer_account.posted_nano == ALL + 5


def test_an_account_with_a_past_stays(shop: Shop) -> None:
    # The customer's was only paid into, and the platform's grants only paid out.
    for account in (shop.customer_account, Account.objects.get(kind="grants")):
        with pytest.raises(DatabaseError, match="has transfers and stays"), transaction.atomic():
            as_owner("DELETE FROM billing_account WHERE id = %s", account.pk)


# Settling


@pytest.mark.parametrize(
    ("charge", "commission", "parts"),
    [
        (100, 0, {"charge_provider": 100}),
        (100, 100, {"charge_commission": 100}),
        (1, 1, {"charge_commission": 1}),
        (3, 1, {"charge_provider": 2, "charge_commission": 1}),
    ],
)
def test_a_part_of_nothing_is_no_transfer(
    shop: Shop, charge: int, commission: int, parts: dict[str, int]
) -> None:
    settle(charged(shop, charge, commission_nano=commission))
    found = Transfer.objects.filter(kind__startswith="charge").values_list("kind", "amount_nano")
    assert dict(found) == parts


@pytest.mark.parametrize("wrong", ["account_id", "provider_account_id"])
def test_a_charge_is_between_a_customer_and_a_provider(shop: Shop, wrong: str) -> None:
    swapped = {
        "account_id": shop.provider_account.pk,
        "provider_account_id": shop.customer_account.pk,
    }
    with pytest.raises(DatabaseError, match="do not fit"), transaction.atomic():
        settle(charged(shop, 5), record(**{**_ids(shop), "charge_nano": 5, wrong: swapped[wrong]}))


def _ids(shop: Shop) -> dict[str, int]:
    return {
        "account_id": shop.customer_account.pk,
        "provider_account_id": shop.provider_account.pk,
    }


@pytest.mark.parametrize(
    ("free", "late", "in_time", "covered"),
    [
        (100, 100, 0, 0),
        (100, 101, 0, 1),
        (0, 70, 0, 70),
        (100, 60, 50, 10),
        (100, 50, 50, 0),
    ],
)
def test_the_platform_pays_what_a_late_charge_finds_nothing_for(
    shop: Shop, free: int, late: int, in_time: int, covered: int
) -> None:
    """Late is a charge whose lease was closed; what other leases hold is not free to pay it."""
    account = shop.customer_account.pk
    closed = lease_take(account, 1, late)
    assert closed is not None
    lease_close(closed)
    assert lease_take(account, 1, ALL - free)
    batch = [charged(shop, late, closed)]
    if in_time:
        batch.append(charged(shop, in_time))
    settle(*batch)
    paid = Transfer.objects.filter(kind="cover").values_list("amount_nano", flat=True)
    assert list(paid) == ([covered] if covered else [])
    assert shop.customer_account.available_nano == max(free - late - in_time, 0)
    assert ledger_proof().gaps == ()


def test_when_a_key_was_used_goes_forward_by_the_minute_and_for_that_key_alone(shop: Shop) -> None:
    mine, _ = api_key_create(organisation=shop.organisation, name="mine")
    other, _ = api_key_create(organisation=shop.organisation, name="other")
    at_ms = 1_700_000_000_000
    for now_ms, seen_ms in (
        (at_ms, at_ms),
        (at_ms + 59_000, at_ms),
        (at_ms + 61_000, at_ms + 61_000),
        (at_ms, at_ms + 61_000),
    ):
        settle(charged(shop, 0, key_id=mine.pk, created_at_ms=now_ms))
        used = dict(ApiKey.objects.values_list("pk", "last_used_at"))
        assert used[mine.pk].timestamp() * 1e3 == seen_ms
        assert used[other.pk] is None
