"""What every lease bank and record sink promises."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from router.adapters.postgres.bank import PostgresBank
from router.adapters.postgres.ledger import PostgresLedger
from router.adapters.postgres.pool import open_pool
from router.contracts.record import CandidateRecord, Candidates, TermsRecord, UsageRecord
from router.domain.errors import LedgerUnavailable
from router.domain.money import Purse
from router.ports.bank import LeaseBank, LeaseGrant, Shortage
from router.ports.books import BudgetState, Spending
from router.ports.records import RecordRejected
from router.ports.taken import Taken
from tests.contract.router.conftest import CREDIT_NANO, TTL_S, Till
from tests.databases import as_routers
from tests.patience import PATIENCE_S
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
    bank = till.bank()
    grant = await till.lease(bank, 10, 400)
    assert grant.amount_nano == 400
    assert time.time() < grant.expires_at_s <= time.time() + TTL_S + 1
    assert await till.balance() == (CREDIT_NANO, 400)
    await bank.close(grant.id)
    await bank.close(grant.id)
    await bank.close(str(uuid.uuid4()))
    assert await till.balance() == (CREDIT_NANO, 0)


async def test_less_than_wanted_is_given_when_it_covers_the_need(till: Till) -> None:
    bank = till.bank()
    await till.lease(bank, 10, 900)
    rest = await till.lease(bank, 50, 900)
    assert rest.amount_nano == CREDIT_NANO - 900
    short = await bank.take(str(uuid.uuid4()), till.purse, 1, 1)
    assert short == Shortage(budget_id=0, left_nano=0, leased_nano=CREDIT_NANO)


async def test_a_need_of_nothing_takes_what_there_is(till: Till) -> None:
    bank = till.bank()
    assert (await till.lease(bank, 0, 10 * CREDIT_NANO)).amount_nano == CREDIT_NANO
    assert isinstance(await bank.take(str(uuid.uuid4()), till.purse, 0, 10), Shortage)


async def test_a_shrunk_lease_frees_what_it_gave_up(till: Till) -> None:
    bank = till.bank()
    grant = await till.lease(bank, 10, 400)
    await till.ledger.settle([charged(till, grant, 150)])
    await bank.shrink(grant.id, 300)
    await bank.shrink(grant.id, 300)
    assert await till.balance() == (CREDIT_NANO - 150, 150)
    # Never below what was spent, and never up again.
    await bank.shrink(grant.id, 0)
    await bank.shrink(grant.id, 400)
    assert await till.balance() == (CREDIT_NANO - 150, 0)


async def test_a_lease_grows_out_of_what_its_purse_has_left(till: Till) -> None:
    bank = till.bank()
    grant = await till.lease(bank, 10, 400)
    await till.ledger.settle([charged(till, grant, 150)])
    assert await bank.grow(grant.id, 50, 100) == 100
    assert await till.balance() == (CREDIT_NANO - 150, 350)
    left = CREDIT_NANO - 150 - 350
    short = await bank.grow(grant.id, left + 1, left + 1)
    assert short == Shortage(budget_id=0, left_nano=left, leased_nano=350)
    assert await bank.grow(grant.id, left, 10 * left) == left
    assert await till.balance() == (CREDIT_NANO - 150, CREDIT_NANO - 150)
    await bank.close(grant.id)
    assert isinstance(await bank.grow(grant.id, 1, 1), Shortage)
    assert await till.balance() == (CREDIT_NANO - 150, 0)


async def test_a_lease_can_be_had_for_longer_until_it_is_closed(till: Till) -> None:
    bank = till.bank()
    grant = await till.lease(bank, 10, 400)
    assert await bank.extend(grant.id) >= grant.expires_at_s
    await bank.close(grant.id)
    assert await bank.extend(grant.id) == 0


async def test_a_settled_charge_leaves_the_account_and_its_lease(till: Till) -> None:
    bank = till.bank()
    grant = await till.lease(bank, 10, 400)
    await till.ledger.settle([charged(till, grant, 150), charged(till, grant, 0)])
    assert await till.balance() == (CREDIT_NANO - 150, 250)
    await bank.close(grant.id)
    assert await till.balance() == (CREDIT_NANO - 150, 0)


async def test_the_same_record_twice_moves_money_once(till: Till) -> None:
    grant = await till.lease(till.bank(), 10, 400)
    once = charged(till, grant, 100)
    await till.ledger.settle([once])
    await till.ledger.settle([once, charged(till, grant, 50)])
    assert await till.balance() == (CREDIT_NANO - 150, 250)


async def test_a_record_that_cannot_be_settled_takes_its_batch_with_it(till: Till) -> None:
    grant = await till.lease(till.bank(), 10, 400)
    good = charged(till, grant, 100)
    bad = msgspec.structs.replace(charged(till, grant, 2), hold_nano=1)
    with pytest.raises(RecordRejected):
        await till.ledger.settle([good, bad])
    assert await till.balance() == (CREDIT_NANO, 400)
    await till.ledger.settle([good])
    assert await till.balance() == (CREDIT_NANO - 100, 300)


async def test_a_ledger_that_lets_nobody_write_is_away_and_refuses_no_record(
    ledger_database: str,
) -> None:
    read_only = "?options=-c%20default_transaction_read_only%3Don"
    async with open_pool(ledger_database + read_only) as pool:
        ledger = PostgresLedger(pool)
        with pytest.raises(LedgerUnavailable):
            await ledger.settle([record(str(uuid.uuid4()))])
        bank = PostgresBank(pool, ledger_database, router_id="r", life="1", lease_ttl_s=TTL_S)
        with pytest.raises(LedgerUnavailable):
            await bank.take(str(uuid.uuid4()), Purse(1), 1, 1)


async def test_a_new_life_closes_the_leases_of_earlier_ones(till: Till) -> None:
    for life in ("1", "2", "3"):
        await till.lease(till.bank(life=life), 10, 100)
    await till.lease(till.bank("b"), 10, 100)
    assert await till.balance() == (CREDIT_NANO, 400)
    # It does so, too, when it stops before it has heard of any recall.
    await till.bank(life="3").close_earlier()
    assert await till.balance() == (CREDIT_NANO, 200)
    async with following(till.bank(life="4")) as bank:
        while await till.balance() != (CREDIT_NANO, 100):
            await asyncio.sleep(0.02)
            with contextlib.suppress(LedgerUnavailable):
                await bank.close_earlier()


async def test_a_router_whose_name_is_taken_is_refused_and_closes_nothing(
    ledger_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = open_pool(as_routers(ledger_database))
    name = str(uuid.uuid4())
    first, second = (
        PostgresBank(pool, ledger_database, router_id=name, life=life, lease_ttl_s=9)
        for life in ("1", "2")
    )
    async with pool, following(first):
        with contextlib.suppress(LedgerUnavailable):
            async with asyncio.timeout(PATIENCE_S):
                while True:  # Until the first has the name to itself.
                    await second.close_earlier()
                    await asyncio.sleep(0.02)
        monkeypatch.setattr("router.adapters.postgres.bank.ALONE_WITHIN_S", 0.0)
        with pytest.raises(Taken, match="ROUTER_ID"):
            await anext(aiter(second.recalls()))
        with pytest.raises(LedgerUnavailable):
            await second.close_earlier()
        await first.close_earlier()


@contextlib.asynccontextmanager
async def following(bank: LeaseBank) -> AsyncIterator[LeaseBank]:
    """As a router does that runs."""
    recalls = aiter(bank.recalls())
    heard = asyncio.ensure_future(anext(recalls))
    await asyncio.sleep(0)
    try:
        yield bank
    finally:
        heard.cancel()
        await asyncio.wait({heard})


async def test_what_a_router_that_is_gone_holds_is_told_apart_from_what_is_spent(
    till: Till,
) -> None:
    other, here, budget = till.bank("other", "o1"), till.bank("here", "h"), await till.budget(800)
    await till.lease(other, 500, 500, (budget,))
    own = await till.lease(here, 500, 500)

    async def stranded(*budgets: int) -> int:
        short = await here.take(str(uuid.uuid4()), Purse(till.customer, budgets), 801, 801)
        assert isinstance(short, Shortage)
        return short.stranded_nano

    async with following(other):
        async with asyncio.timeout(PATIENCE_S):
            while await stranded():  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # Until the ledger knows that it is there.
    till.bank("other", "o2")  # It has started again; nobody has settled what it was doing.
    async with asyncio.timeout(PATIENCE_S):
        while await stranded() != 500:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await here.close(own.id)
    assert await stranded(budget) == 500
    assert await stranded(await till.budget(300)) == 0, "that budget holds nothing"


async def test_a_budget_holds_spends_and_stops(till: Till) -> None:
    bank, small, large = till.bank(), await till.budget(300), await till.budget(5_000)
    grant = await till.lease(bank, 10, 900, (small,))
    assert grant.amount_nano == 300
    assert await till.budget_state(small) == (0, 300)
    short = await bank.take(str(uuid.uuid4()), Purse(till.customer, (small, large)), 1, 1)
    assert short == Shortage(small, left_nano=0, leased_nano=300)
    await till.ledger.settle([charged(till, grant, 120)])
    assert await till.budget_state(small) == (120, 180)
    await bank.close(grant.id)
    assert await till.budget_state(small) == (120, 0)
    both = await till.lease(bank, 10, 900, (small, large))
    assert both.amount_nano == 180
    assert await till.budget_state(large) == (0, 180)


async def test_two_routers_that_spend_at_once_never_exceed_a_budget(till: Till) -> None:
    budget = await till.budget(300)
    purse = Purse(till.customer, (budget,))
    spent: list[int] = []

    async def spend(router: str) -> None:
        bank = till.bank(router)
        while isinstance(grant := await bank.take(str(uuid.uuid4()), purse, 7, 40), LeaseGrant):
            await till.ledger.settle([charged(till, grant, grant.amount_nano - 1)])
            spent.append(grant.amount_nano - 1)
            await bank.close(grant.id)

    await asyncio.gather(spend("a"), spend("b"))
    assert await till.budget_state(budget) == (sum(spent), 0)
    assert 300 - 7 < sum(spent) <= 300


async def test_the_books_tell_how_a_budget_stands(till: Till) -> None:
    budget = await till.budget(300)
    grant = await till.lease(till.bank(), 10, 200, (budget,))
    await till.ledger.settle([charged(till, grant, 120)])
    assert await till.ledger.budget(budget) == BudgetState(300, 120, "month")
    assert await till.ledger.budget(budget + 1_000_000) is None
    if await till.last_month(budget):
        assert await till.ledger.budget(budget) == BudgetState(300, 0, "month")


async def test_a_charge_on_a_closed_lease_costs_its_account_at_most_what_is_free(
    till: Till,
) -> None:
    bank = till.bank()
    lost = await till.lease(bank, 10, 700)
    await bank.close(lost.id)
    held = await till.lease(bank, 10, 400)
    await till.ledger.settle([charged(till, lost, 700), charged(till, held, 300)])
    # 600 were free: the other hundred is the platform's loss, and nobody else's hold.
    assert await till.expense_nano() == 100
    assert await till.balance() == (CREDIT_NANO - 600 - 300, 100)


async def test_routers_are_told_when_credit_that_they_hold_is_needed(till: Till) -> None:
    bank = till.bank()
    recalls = aiter(bank.recalls())
    heard = asyncio.ensure_future(anext(recalls))
    await till.lease(bank, 10, CREDIT_NANO)
    while not heard.done():
        await bank.take(str(uuid.uuid4()), till.purse, 1, 1)
        await asyncio.wait({heard}, timeout=0.1)
    assert heard.result() == till.customer
    await recalls.aclose()  # type: ignore[attr-defined]


async def test_the_books_tell_what_was_spent_and_by_which_key(till: Till) -> None:
    now_ms = time.time_ns() // 1_000_000
    organisation = till.customer + 7_000_000
    for key, age_ms, charge in ((1, 0, 5), (2, 0, 7), (1, 400 * 86_400_000, 11)):
        grant = await till.lease(till.bank(), 1, 20)
        one = charged(till, grant, charge, key_id=key, organisation_id=organisation)
        one = msgspec.structs.replace(one, created_at_ms=now_ms - age_ms)
        await till.ledger.settle([one])
    assert await till.ledger.spent(organisation, 1) == Spending(16, 5, 5, 5)
    assert await till.ledger.spent(organisation, None) == Spending(23, 12, 12, 12)
    assert await till.ledger.spent(organisation + 1, None) == Spending()
    assert await till.ledger.posted_nano(till.customer) == CREDIT_NANO - 23


async def test_a_settled_call_is_found_as_it_was_recorded(till: Till) -> None:
    grant = await till.lease(till.bank(), 10, 400)
    terms = TermsRecord(12.345, 0.001, 67.0, 1e-3, 1_500, 640, 20)
    decision = (
        CandidateRecord(1, "engine-0", "p", "chosen", 0.0, 79.346, 0.079347, terms),
        CandidateRecord(2, "slots-0", "p", "busy", 5.5, 80.0, 0.1075),
    )
    one = msgspec.structs.replace(
        charged(till, grant, 100), candidates=Candidates(lambda: decision)
    )
    await till.ledger.settle([one])
    assert await till.ledger.call(one.request_id) == one
    assert await till.ledger.call(str(uuid.uuid4())) is None
