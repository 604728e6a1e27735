"""Holds that grow, and leases that are fetched ahead, extended and given back."""

import asyncio

import pytest

from router.adapters.memory import MemoryBank
from router.domain.errors import BudgetExhausted, CreditExhausted
from router.domain.money import Purse
from router.metering.vault import COVER_S
from tests.unit.router.metering.test_lease import ACCOUNT, PURSE
from tests.unit.router.metering.vault.till import Till, finish
from tests.unit.router.pipeline.line import in_time


async def test_a_hold_grows_out_of_its_lease_and_the_lease_out_of_the_purse() -> None:
    till = Till(1_000)
    made = till.vault(lease_nano=100)
    hold = await made.hold(PURSE, 80)
    hold = await made.raised(hold, 20)
    assert (hold.amount_nano, till.held_nano) == (100, 100)
    hold = await made.raised(hold, 850)
    assert (hold.amount_nano, till.held_nano) == (950, 950)
    with pytest.raises(CreditExhausted):
        await made.raised(hold, 51)
    hold = await made.raised(hold, 50)
    assert hold.amount_nano == 1_000
    await finish(made, hold, 990)
    made.book.retire_all()
    assert made.book.finished() == [hold.lease_id]


async def test_a_hold_grows_by_what_lies_idle_in_another_router() -> None:
    till = Till(1_000)
    first, second = till.vault(lease_nano=900), till.vault(lease_nano=10)
    running = [asyncio.create_task(vault.run()) for vault in (first, second)]
    idle = await first.hold(PURSE, 100)
    assert till.held_nano == 500  # An even part among the two.
    hold = await second.raised(await second.hold(PURSE, 500), 400)
    assert hold.amount_nano == 900
    assert till.held_nano == 1_000
    await finish(first, idle, 100)
    for task in running:
        task.cancel()


async def test_a_budget_stops_a_hold_from_growing() -> None:
    till = Till(10_000, b1=150)
    made = till.vault()
    hold = await made.hold(Purse(ACCOUNT, (1,)), 100)
    with pytest.raises(BudgetExhausted):
        await made.raised(hold, 51)
    assert (await made.raised(hold, 50)).amount_nano == 150


async def test_a_recall_does_not_take_what_a_lease_has_grown_by() -> None:
    """In the wrong order, the ledger would keep less of the lease than is held from it."""
    till = Till(1_000)
    made = till.vault(lease_nano=200)
    hold = await made.hold(PURSE, 100)
    _, hold = await asyncio.gather(made.give_back(ACCOUNT), made.raised(hold, 300))
    assert hold.amount_nano == 400
    assert till.ledger.leases[hold.lease_id].amount_nano >= 400


async def test_more_is_fetched_before_a_lease_runs_out() -> None:
    till = Till(1_000_000)
    made = till.vault()
    running = asyncio.create_task(made.run())
    await made.hold(PURSE, 20)
    till.now_s += 10
    await made.hold(PURSE, 20)
    await in_time(lambda: till.held_nano > 100)
    # 40 in ten seconds are 480 in the two minutes that it should last.
    assert till.held_nano == 100 + 480
    running.cancel()


async def test_a_lease_that_lay_idle_at_first_is_not_taken_for_one_that_is_used_slowly() -> None:
    till = Till(1_000_000)
    made = till.vault()
    running = asyncio.create_task(made.run())
    await made.hold(PURSE, 100)
    await in_time(lambda: till.held_nano > 100)
    till.now_s += 500
    before = till.held_nano
    await made.hold(PURSE, 4_000)
    await in_time(lambda: till.held_nano > before)
    assert till.held_nano - before == 4_000 * COVER_S
    running.cancel()


async def test_a_lease_in_use_is_extended_and_an_idle_one_given_back() -> None:
    till = Till(10_000)
    made = till.vault()
    await finish(made, await made.hold(PURSE, 50), 0)
    till.now_s += 400
    await made.sweep()
    till.now_s += 400
    assert made.book.reserve(PURSE, 50, till.now_s)
    till.now_s += 600
    await made.sweep()
    assert made.book.reserve(PURSE, 50, till.now_s) is None


async def test_a_lease_is_extended_in_the_second_half_of_its_time() -> None:
    extended: list[float] = []
    till = Till(10_000)

    class Watched(MemoryBank):
        async def extend(self, lease_id: str) -> float:
            extended.append(till.now_s)
            return await super().extend(lease_id)

    made = till.vault(Watched(till.ledger, router_id="r", lease_ttl_s=600))
    await made.hold(PURSE, 50)
    for now_s in (0.0, 290.0, 310.0, 320.0):
        till.now_s = now_s
        await made.sweep()
    assert extended == [310.0]
