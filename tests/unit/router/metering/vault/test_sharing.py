"""Credit that many calls and several routers share: found where it lies, and never given twice."""

import asyncio

import pytest

from router.adapters.memory import MemoryBank
from router.domain.errors import BudgetExhausted, CreditExhausted
from router.domain.money import Purse, format_usd
from router.metering.lease import Hold
from router.ports.bank import LeaseGrant, Shortage
from tests.unit.router.metering.test_lease import ACCOUNT, PURSE
from tests.unit.router.metering.vault.till import Till, finish


async def test_a_refusal_for_lack_of_credit_says_where_to_add_it() -> None:
    made = Till(10).vault()
    with pytest.raises(CreditExhausted, match="add credit or ask for it on the Billing page"):
        await made.hold(PURSE, 80)
    made.pages_url = "http://pages"
    with pytest.raises(CreditExhausted, match="at http://pages/billing, or lower"):
        await made.hold(PURSE, 80)


async def test_500_at_once_with_funds_for_10_are_exactly_10() -> None:
    made = Till(10_000).vault(lease_nano=3_000)
    outcomes = await asyncio.gather(
        *(made.hold(PURSE, 1_000) for _ in range(500)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Hold) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, CreditExhausted) for outcome in outcomes) == 490


async def test_500_at_once_over_4_routers_with_funds_for_10_are_exactly_10() -> None:
    till = Till(10_900)
    vaults = [till.vault(lease_nano=3_000) for _ in range(4)]
    running = [asyncio.create_task(vault.run()) for vault in vaults]
    outcomes = await asyncio.gather(
        *(vaults[i % 4].hold(PURSE, 1_000) for i in range(500)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Hold) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, CreditExhausted) for outcome in outcomes) == 490
    for task in running:
        task.cancel()


async def test_concurrent_first_calls_fetch_one_lease() -> None:
    till = Till(10_000)
    made = till.vault(lease_nano=5_000)
    await asyncio.gather(*(made.hold(PURSE, 10) for _ in range(50)))
    assert till.held_nano == 5_000


async def test_credit_that_lies_idle_in_another_router_is_not_missed() -> None:
    till = Till(1_000)
    first, second = till.vault(lease_nano=900), till.vault()
    running = [asyncio.create_task(vault.run()) for vault in (first, second)]
    held = await first.hold(PURSE, 100)
    assert till.held_nano == 500  # An even part among the two.
    assert await second.hold(PURSE, 900)
    assert till.held_nano == 1_000
    await finish(first, held, 100)
    for task in running:
        task.cancel()


async def test_credit_that_lies_idle_under_another_budget_is_not_missed() -> None:
    till = Till(1_000, b1=1_000)
    made = till.vault(lease_nano=900)
    await made.hold(Purse(ACCOUNT, (1,)), 100)
    assert (await made.hold(PURSE, 900)).amount_nano == 900


async def test_a_budget_stops_what_credit_would_allow() -> None:
    till = Till(10_000, b1=150, b2=5_000)
    made = till.vault()
    purse = Purse(ACCOUNT, (1, 2))
    hold = await made.hold(purse, 100)
    with pytest.raises(BudgetExhausted, match="budget"):
        await made.hold(purse, 100)
    await finish(made, hold, 20)
    assert (await made.hold(purse, 100)).purse == purse
    assert (await made.hold(PURSE, 100)).purse == PURSE


async def test_a_storm_of_calls_is_two_questions() -> None:
    till = Till(100)
    taken = 0

    class Counting(MemoryBank):
        async def take(
            self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
        ) -> LeaseGrant | Shortage:
            nonlocal taken
            taken += 1
            await asyncio.sleep(0)
            return await super().take(lease_id, purse, need_nano, want_nano)

    made = till.vault(Counting(till.ledger, router_id="r"))
    outcomes = await asyncio.gather(
        *(made.hold(PURSE, 101) for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(outcome, CreditExhausted) for outcome in outcomes)
    # One for the first, and one for those that came while it was asked.
    assert taken == 2


async def test_each_call_of_a_storm_is_told_its_own_amount() -> None:
    made = Till(100).vault()
    found = await asyncio.gather(
        *(made.hold(PURSE, 1_000 + number) for number in range(20)), return_exceptions=True
    )
    for number, error in enumerate(found):
        assert f"${format_usd(1_000 + number)} has to be set aside" in str(error)


async def test_credit_that_comes_back_is_found_at_once() -> None:
    till = Till(100)
    made = till.vault()
    with pytest.raises(CreditExhausted):
        await made.hold(PURSE, 101)
    till.ledger.posted[ACCOUNT] += 1
    assert (await made.hold(PURSE, 101)).amount_nano == 101
