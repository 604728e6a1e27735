"""What every lease bank and record sink promises."""

import time
import uuid

import msgspec
import pytest

from router.contracts.record import UsageRecord
from router.ports import LeaseGrant, RecordRejected, Spending
from tests.contract.router.conftest import CREDIT_NANO, Till
from tests.unit.router.records import record


def charged(till: Till, lease: LeaseGrant | None, charge_nano: int, **fields: int) -> UsageRecord:
    return record(
        str(uuid.uuid4()),
        account_id=till.customer,
        provider_account_id=till.provider,
        lease_id=lease.id if lease else "",
        hold_nano=max(charge_nano, 10),
        charge_nano=charge_nano,
        commission_nano=charge_nano // 10,
        **fields,
    )


async def test_a_lease_sets_credit_aside_and_closing_returns_it(till: Till) -> None:
    grant = await till.ledger.take(till.customer, need_nano=10, want_nano=400)
    assert grant is not None
    assert grant.amount_nano == 400
    assert await till.balance() == (CREDIT_NANO, 400)
    await till.ledger.close(grant.id)
    await till.ledger.close(grant.id)
    assert await till.balance() == (CREDIT_NANO, 0)


async def test_less_than_wanted_is_given_when_it_covers_the_need(till: Till) -> None:
    assert await till.ledger.take(till.customer, 10, 900)
    rest = await till.ledger.take(till.customer, need_nano=50, want_nano=900)
    assert rest is not None
    assert rest.amount_nano == CREDIT_NANO - 900
    assert await till.ledger.take(till.customer, need_nano=1, want_nano=1) is None


async def test_a_settled_charge_leaves_the_account_and_its_lease(till: Till) -> None:
    grant = await till.ledger.take(till.customer, 10, 400)
    await till.ledger.settle([charged(till, grant, 150), charged(till, grant, 0)])
    assert await till.balance() == (CREDIT_NANO - 150, 250)
    assert grant is not None
    await till.ledger.close(grant.id)
    assert await till.balance() == (CREDIT_NANO - 150, 0)


async def test_the_same_record_twice_moves_money_once(till: Till) -> None:
    grant = await till.ledger.take(till.customer, 10, 400)
    once = charged(till, grant, 100)
    await till.ledger.settle([once])
    await till.ledger.settle([once, charged(till, grant, 50)])
    assert (await till.balance())[0] == CREDIT_NANO - 150


async def test_a_record_that_cannot_be_settled_takes_its_batch_with_it(till: Till) -> None:
    grant = await till.ledger.take(till.customer, 10, 400)
    good = charged(till, grant, 100)
    bad = record(
        str(uuid.uuid4()),
        account_id=till.customer,
        provider_account_id=till.provider,
        lease_id=grant.id if grant else "",
        hold_nano=1,
        charge_nano=2,
    )
    with pytest.raises(RecordRejected):
        await till.ledger.settle([good, bad])
    assert await till.balance() == (CREDIT_NANO, 400)
    await till.ledger.settle([good])
    assert (await till.balance())[0] == CREDIT_NANO - 100


async def test_closing_all_leaves_nothing_held(till: Till) -> None:
    for _ in range(3):
        await till.ledger.take(till.customer, 10, 100)
    await till.ledger.close_all()
    assert await till.balance() == (CREDIT_NANO, 0)


async def test_the_books_tell_what_was_spent_and_by_which_key(till: Till) -> None:
    now_ms = time.time_ns() // 1_000_000
    organisation = till.customer + 7_000_000
    for key, age_ms, charge in ((1, 0, 5), (2, 0, 7), (1, 400 * 86_400_000, 11)):
        grant = await till.ledger.take(till.customer, 1, 20)
        one = charged(till, grant, charge, key_id=key, organisation_id=organisation)
        one = msgspec.structs.replace(one, created_at_ms=now_ms - age_ms)
        await till.ledger.settle([one])
    assert await till.ledger.spent(organisation, 1) == Spending(16, 5, 5, 5)
    assert await till.ledger.spent(organisation, None) == Spending(23, 12, 12, 12)
    assert await till.ledger.spent(organisation + 1, None) == Spending()
    assert await till.ledger.posted_nano(till.customer) == CREDIT_NANO - 23


async def test_a_settled_call_is_found_as_it_was_recorded(till: Till) -> None:
    grant = await till.ledger.take(till.customer, 10, 400)
    one = charged(till, grant, 100)
    await till.ledger.settle([one])
    assert await till.ledger.call(one.request_id) == one
    assert await till.ledger.call(str(uuid.uuid4())) is None
