"""The ledger on a real PostgreSQL: who may write, what settles, and that nothing is ever lost."""

import json
import threading
import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from marketplace.accounts.services import api_key_create
from marketplace.billing.models import Account, AccountKind, Budget, Lease, Transfer, Window
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.usage.models import UsageEvent
from router.contracts.record import encode_record
from tests.integration.marketplace.ledger import (
    USD,
    as_owner,
    call,
    credit_grant,
    intrude,
    lease_close,
    lease_take,
    record,
    settle,
    transfer_reverse,
)
from tests.integration.marketplace.shop import Shop


def charged(shop: Shop, charge: int, **values: object) -> object:
    return record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        charge_nano=charge,
        **values,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_account SET posted_nano = posted_nano + 1",
        "UPDATE billing_account SET held_nano = 1",
        "UPDATE billing_account SET overdraft = true",
        "INSERT INTO billing_account (kind, currency, posted_nano, held_nano, overdraft)"
        " VALUES ('expense', 'USD', 5, 0, true)",
        "UPDATE billing_transfer SET amount_nano = 1",
        "DELETE FROM billing_transfer",
        "TRUNCATE billing_transfer",
        "SET LOCAL waypost.ledger = 'on'; UPDATE billing_account SET posted_nano = 1",
        "SET LOCAL waypost.ledger = 'on'; UPDATE billing_account SET held_nano = 1",
        "INSERT INTO billing_budget (organisation_id, limit_nano, spent_nano)"
        " SELECT organisation_id, 1, -1 FROM billing_account WHERE kind = 'customer'",
        "INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind)"
        " SELECT min(id), max(id), 1, 'x', 'grant' FROM billing_account",
        "INSERT INTO billing_lease (id, router_id, account_id, amount_nano, expires_at)"
        " SELECT gen_random_uuid(), 'r', min(id), 1, now() FROM billing_account",
    ],
)
def test_money_is_not_written_by_hand(shop: Shop, statement: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        call(statement)


def test_a_budget_is_spent_by_leases_alone(shop: Shop) -> None:
    budget = Budget.objects.create(organisation=shop.organisation, limit_nano=500)
    lease = lease_take(shop.customer_account.pk, 1, 10 * USD, budgets=(budget.pk,))
    settle(charged(shop, 120, lease_id=lease))
    budget.refresh_from_db()
    assert (budget.spent_nano, budget.held_nano) == (120, 380)
    for what in ("spent_nano", "held_nano"):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            Budget.objects.update(**{what: 0})
    call("SELECT billing_budget_change(%s, 1, %s)", budget.pk, budget.window)
    lease_close(lease)
    budget.refresh_from_db()
    assert (budget.spent_nano, budget.held_nano) == (120, 0)
    assert lease_take(shop.customer_account.pk, 1, 1, budgets=(budget.pk,)) is None


def test_a_budgets_window_starts_again(shop: Shop) -> None:
    budget = Budget.objects.create(
        organisation=shop.organisation, limit_nano=500, window=Window.DAY
    )
    lease = lease_take(shop.customer_account.pk, 1, 400, budgets=(budget.pk,))
    settle(charged(shop, 300, lease_id=lease))
    intrude("UPDATE billing_budget SET window_starts_at = now() - interval '25 hours'")
    assert lease_take(shop.customer_account.pk, 400, 400, budgets=(budget.pk,))
    budget.refresh_from_db()
    # What the first lease still holds stays held; what was spent yesterday is forgotten.
    assert (budget.spent_nano, budget.held_nano) == (0, 500)


def test_a_transfer_written_past_the_functions_still_balances_and_is_seen(shop: Shop) -> None:
    credit_grant(organisation=shop.organisation, amount_nano=1)
    as_owner(
        "INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind) "
        "SELECT debit_id, credit_id, 5, 'by hand', kind FROM billing_transfer LIMIT 1"
    )
    assert shop.customer_account.posted_nano == 10 * USD + 6
    (gap,) = ledger_proof().gaps
    assert "(grant, 5 nano) has no order with a name" in gap


def test_the_permission_to_write_ends_with_the_function(shop: Shop) -> None:
    credit_grant(organisation=shop.organisation, amount_nano=1)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        call("UPDATE billing_account SET posted_nano = 0")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE billing_account SET posted_nano = 0", "only by transfers and leases"),
        ("UPDATE billing_transfer SET amount_nano = 1", "the ledger only grows"),
        ("DELETE FROM billing_transfer", "the ledger only grows"),
        ("TRUNCATE billing_transfer CASCADE", "the ledger only grows"),
        ("DELETE FROM billing_lease", "the ledger only grows"),
    ],
)
def test_triggers_keep_the_owner_from_mistakes(shop: Shop, statement: str, found: str) -> None:
    call("SET CONSTRAINTS ALL IMMEDIATE")
    with pytest.raises(DatabaseError, match=found), transaction.atomic():
        as_owner(statement)


def test_a_grant_is_booked_once_for_its_key(shop: Shop) -> None:
    first = credit_grant(organisation=shop.organisation, amount_nano=7, idem_key="k")
    assert credit_grant(organisation=shop.organisation, amount_nano=7, idem_key="k") == first
    assert shop.customer_account.posted_nano == 10 * USD + 7
    with pytest.raises(DatabaseError, match="another transfer"), transaction.atomic():
        credit_grant(organisation=shop.organisation, amount_nano=8, idem_key="k")


def test_a_grant_comes_out_of_grants_and_can_be_reversed_once(shop: Shop) -> None:
    grants = Account.objects.get(kind=AccountKind.GRANTS)
    grant = credit_grant(organisation=shop.organisation, amount_nano=USD)
    transfer_reverse(transfer=grant)
    transfer_reverse(transfer=grant)
    assert Account.objects.get(pk=grants.pk).posted_nano == grants.posted_nano
    assert shop.customer_account.posted_nano == 10 * USD


def test_charges_are_for_settling_alone(shop: Shop) -> None:
    with pytest.raises(DatabaseError, match="is settled, not posted"), transaction.atomic():
        call(
            "SELECT billing_transfer_post(%s, %s, 1, 'k', 'charge_provider')",
            shop.customer_account.pk,
            shop.provider_account.pk,
        )


def test_a_reversal_of_spent_money_is_refused(shop: Shop) -> None:
    grant = Transfer.objects.get(idem_key="welcome")
    settle(charged(shop, USD))
    with pytest.raises(DatabaseError, match="not_overdrawn"), transaction.atomic():
        transfer_reverse(transfer=grant)


def test_a_lease_takes_what_there_is_and_refuses_what_there_is_not(shop: Shop) -> None:
    account = shop.customer_account.pk
    first = lease_take(account, USD, 6 * USD)
    assert first is not None
    second = lease_take(account, USD, 6 * USD)
    assert Lease.objects.get(pk=second).amount_nano == 4 * USD
    assert lease_take(account, 1, 1) is None
    assert lease_close(first) == 6 * USD
    assert lease_close(first) == 0
    assert shop.customer_account.available_nano == 6 * USD


def test_a_lease_of_an_account_that_is_no_customer_is_an_error(shop: Shop) -> None:
    for account_id in (shop.provider_account.pk, 10**9):
        with pytest.raises(DatabaseError, match="not a customer"), transaction.atomic():
            lease_take(account_id, 1, 1)


def test_only_an_open_lease_is_extended(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 1, 1)
    assert lease is not None
    assert call("SELECT billing_lease_extend(%s, 900)", lease)[0][0] is not None
    lease_close(lease)
    assert call("SELECT billing_lease_extend(%s, 900)", lease)[0][0] is None


def test_a_router_closes_all_its_own_leases(shop: Shop) -> None:
    account = shop.customer_account.pk
    lease_take(account, 1, 10, router="r1")
    lease_take(account, 1, 20, router="r1")
    lease_take(account, 1, 40, router="r2")
    assert call("SELECT billing_lease_close_earlier('r1', '')")[0][0] == 30
    assert shop.customer_account.held_nano == 40


def test_a_settled_call_pays_provider_and_platform(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 1_000, 5_000)
    event = charged(shop, 1_005, commission_nano=100, lease_id=lease, hold_nano=2_000)
    assert settle(event) == {uuid.UUID(event.request_id): True}
    customer = shop.customer_account
    assert (customer.posted_nano, customer.held_nano) == (10 * USD - 1_005, 5_000 - 1_005)
    assert shop.provider_account.posted_nano == 905
    assert Account.objects.get(kind=AccountKind.COMMISSION).posted_nano == 100
    assert Lease.objects.get(pk=lease).spent_nano == 1_005
    transfers = Transfer.objects.filter(request_id=event.request_id)
    assert set(transfers.values_list("kind", "amount_nano")) == {
        ("charge_provider", 905),
        ("charge_commission", 100),
    }
    assert ledger_proof().gaps == ()


def test_a_record_settles_once_however_often_it_is_sent(shop: Shop) -> None:
    event = charged(shop, 500)
    key = uuid.UUID(event.request_id)
    assert settle(event, event) == {key: True}
    assert settle(event) == {key: False}
    assert settle(event, charged(shop, 1)) != {}
    assert shop.customer_account.posted_nano == 10 * USD - 501


def test_hardware_time_is_kept_and_a_record_of_before_it_has_none(shop: Shop) -> None:
    timed = charged(shop, 5, hardware_ms=1_234)
    older = json.loads(encode_record(charged(shop, 5)))
    del older["hardware_ms"]
    settle(timed)
    call("SELECT billing_settle(%s::jsonb)", json.dumps([older]))
    stored = dict(UsageEvent.objects.values_list("request_id", "hardware_ms"))
    assert stored == {uuid.UUID(timed.request_id): 1_234, uuid.UUID(older["request_id"]): 0}


def test_a_call_that_is_not_billed_is_recorded_without_money(shop: Shop) -> None:
    settle(charged(shop, 0, outcome="worker_failed", http_status=502))
    assert UsageEvent.objects.get().outcome == "worker_failed"
    assert Transfer.objects.count() == 1


def test_a_late_record_of_a_closed_lease_still_pays(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 100, 100)
    assert lease is not None
    lease_close(lease)
    settle(charged(shop, 100, lease_id=lease))
    customer = shop.customer_account
    assert (customer.posted_nano, customer.held_nano) == (10 * USD - 100, 0)
    assert ledger_proof().gaps == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"charge_nano": 11, "hold_nano": 10},
        {"charge_nano": -1, "hold_nano": 10},
        {"charge_nano": 5, "commission_nano": 6},
        {"charge_nano": 5, "commission_nano": -1},
        {"charge_nano": 5, "prompt_tokens": -1},
        {"charge_nano": 5, "hardware_ms": -1},
        {"charge_nano": 5, "provider_account_id": 0},
        {"charge_nano": 5, "account_id": 0},
        {"charge_nano": 11 * USD},
    ],
)
def test_a_record_that_does_not_add_up_refuses_the_batch(shop: Shop, wrong: dict[str, int]) -> None:
    values = {
        "account_id": shop.customer_account.pk,
        "provider_account_id": shop.provider_account.pk,
        **wrong,
    }
    with pytest.raises(DatabaseError), transaction.atomic():
        settle(charged(shop, 1), record(**values))
    assert UsageEvent.objects.count() == 0
    assert shop.customer_account.posted_nano == 10 * USD


def test_a_lease_pays_only_for_its_own_account(shop: Shop) -> None:
    from marketplace.accounts.services import organisation_create

    other = organisation_create(name="Other", slug="other", owner=shop.owner)
    credit_grant(organisation=other, amount_nano=USD)
    lease = lease_take(other.billing_account.pk, 100, 100)
    with pytest.raises(DatabaseError, match="do not fit"), transaction.atomic():
        settle(charged(shop, 50, lease_id=lease))


def test_more_than_the_lease_is_refused(shop: Shop) -> None:
    lease = lease_take(shop.customer_account.pk, 100, 100)
    with pytest.raises(DatabaseError, match=r"within_amount|held_not_negative"):
        settle(charged(shop, 101, lease_id=lease))


def test_settling_notes_when_a_key_was_used(shop: Shop) -> None:
    key, _ = api_key_create(organisation=shop.organisation, name="k")
    settle(charged(shop, 1, key_id=key.pk, created_at_ms=1_700_000_000_000))
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at.timestamp() == 1_700_000_000


def test_the_proof_finds_what_does_not_follow_from_the_transfers(shop: Shop) -> None:
    settle(charged(shop, 700))
    intrude(
        "UPDATE billing_account SET posted_nano = posted_nano + 3 WHERE id = %s",
        shop.customer_account.pk,
    )
    cursor_gaps = ledger_proof().gaps
    assert any("posted sum of USD is 3" in gap for gap in cursor_gaps)
    assert any(f"account {shop.customer_account.pk} caches" in gap for gap in cursor_gaps)


def test_the_proof_finds_a_hold_without_a_lease_and_a_call_without_transfers(shop: Shop) -> None:
    intrude("UPDATE billing_account SET held_nano = 9 WHERE id = %s", shop.customer_account.pk)
    settle(charged(shop, 0))
    intrude("UPDATE usage_event SET hold_nano = 4, charge_nano = 4")
    gaps = ledger_proof().gaps
    assert any("holds 9 nano" in gap for gap in gaps)
    assert any("charged 4 nano, its transfers sum to 0" in gap for gap in gaps)


def test_two_settlers_with_the_same_records_pay_once(committed_shop: Shop) -> None:
    records = [charged(committed_shop, 1_000) for _ in range(50)]
    applied: list[bool] = []
    errors: list[BaseException] = []

    def work(batch: list[object]) -> None:
        try:
            applied.extend(settle(*batch).values())
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(batch,))
        for batch in (records, records[::-1], records[25:], records[:25])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert sum(applied) == 50
    assert committed_shop.customer_account.posted_nano == 10 * USD - 50_000
    assert ledger_proof().gaps == ()
