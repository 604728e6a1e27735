"""Holds out of leases that are fetched from a ledger: shared, grown, recalled and found again."""

import asyncio
import itertools

import pytest

from router.adapters.memory import MemoryBank, MemoryBudget, MemoryLedger
from router.domain.errors import BudgetExhausted, CreditExhausted, LedgerUnavailable
from router.domain.money import Purse, format_usd
from router.metering import vault as module
from router.metering.lease import Hold
from router.metering.vault import COVER_S, DOUBT_S, Vault
from router.ports.bank import LeaseGrant, Shortage
from tests.unit.router.metering.test_lease import ACCOUNT, PURSE
from tests.unit.router.pipeline.line import in_time
from tests.unit.router.records import record


async def test_a_refusal_for_lack_of_credit_says_where_to_add_it() -> None:
    made = Till(10).vault()
    with pytest.raises(CreditExhausted, match="add credit or ask for it on the Billing page"):
        await made.hold(PURSE, 80)
    made.pages_url = "http://pages"
    with pytest.raises(CreditExhausted, match="at http://pages/billing, or lower"):
        await made.hold(PURSE, 80)


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


class Till:
    """Vaults of several routers over one ledger, under a clock that tests set."""

    def __init__(self, credit_nano: int, **budgets_nano: int) -> None:
        self.now_s = 0.0
        self._numbers = itertools.count()
        self.ledger = MemoryLedger(
            clock=lambda: self.now_s,
            balances_nano={ACCOUNT: credit_nano},
            budgets={int(k[1:]): MemoryBudget(nano) for k, nano in budgets_nano.items()},
        )

    def vault(self, bank: MemoryBank | None = None, *, lease_nano: int = 100) -> Vault:
        router_id = f"r{len(self.ledger.banks)}"
        return Vault(
            bank or MemoryBank(self.ledger, router_id=router_id),
            lease_nano=lease_nano,
            lease_ttl_s=600,
            clock=lambda: self.now_s,
            new_id=lambda: f"lease-{next(self._numbers)}",
        )

    @property
    def held_nano(self) -> int:
        return self.ledger.held.get(ACCOUNT, 0)


async def finish(vault: Vault, hold: Hold, charge_nano: int) -> None:
    """The call has ended, and the ledger has it."""
    vault.book.settle(hold, charge_nano)
    vault.book.acknowledge(hold.lease_id)


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


class Away(MemoryBank):
    """Is away for so many takings, and slow to be found so."""

    away = 0
    asked = 0

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        self.asked += 1
        if self.away:
            self.away -= 1
            await asyncio.sleep(0.01)
            raise LedgerUnavailable("away", retry_after_s=2)
        return await super().take(lease_id, purse, need_nano, want_nano)


async def test_calls_that_wait_for_a_ledger_that_is_away_are_refused_together() -> None:
    till = Till(10_000)
    bank = Away(till.ledger, router_id="r")
    made = till.vault(bank)
    bank.away = 100
    found = await asyncio.gather(*(made.hold(PURSE, 50) for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in found} == {LedgerUnavailable}
    assert {error.retry_after_s for error in found if isinstance(error, LedgerUnavailable)} == {2}
    assert bank.asked == 1
    assert made.failures == 1
    bank.away = 0
    assert await made.hold(PURSE, 50)


async def test_a_lease_that_ran_low_while_the_ledger_was_away_is_followed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RECONNECT_S", 0.001)
    till = Till(10_000)
    bank = Away(till.ledger, router_id="r")
    made = till.vault(bank)
    running = asyncio.create_task(made.run())
    assert await made.hold(PURSE, 10)
    bank.away = 3
    assert await made.hold(PURSE, 40)
    await in_time(lambda: till.held_nano > 100)
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


class Unsure(MemoryBank):
    """Does what it is asked, and does not say so the first time."""

    failing = ""

    async def take(
        self, lease_id: str, purse: Purse, need_nano: int, want_nano: int
    ) -> LeaseGrant | Shortage:
        found = await super().take(lease_id, purse, need_nano, want_nano)
        self._fail("take")
        return found

    async def close(self, lease_id: str) -> None:
        self._fail("close")
        await super().close(lease_id)

    async def shrink(self, lease_id: str, amount_nano: int) -> None:
        self._fail("shrink")
        await super().shrink(lease_id, amount_nano)

    async def extend(self, lease_id: str) -> float:
        self._fail("extend")
        return await super().extend(lease_id)

    def _fail(self, what: str) -> None:
        if self.failing == what:
            self.failing = ""
            raise LedgerUnavailable("away")


async def test_a_lease_that_was_given_without_a_word_is_closed() -> None:
    till = Till(10_000)
    bank = Unsure(till.ledger, router_id="r")
    made = till.vault(bank)
    bank.failing = "take"
    with pytest.raises(LedgerUnavailable):
        await made.hold(PURSE, 50)
    assert till.held_nano == 100
    await made.sweep()
    assert till.held_nano == 0
    till.now_s += DOUBT_S
    await made.sweep()
    assert not made._doubtful


async def test_a_lease_that_could_not_be_returned_is_tried_again() -> None:
    till = Till(10_000)
    bank = Unsure(till.ledger, router_id="r")
    made = till.vault(bank)
    await finish(made, await made.hold(PURSE, 50), 0)
    made.book.retire_all()
    bank.failing = "close"
    with pytest.raises(LedgerUnavailable):
        await made.sweep()
    await made.sweep()
    assert till.held_nano == 0


@pytest.mark.parametrize("sweeps", [False, True])
async def test_credit_that_could_not_be_given_back_is_by_the_next_recall_or_sweep(
    sweeps: bool,
) -> None:
    till = Till(1_000, b1=1_000)
    bank = Unsure(till.ledger, router_id="r")
    made = till.vault(bank)
    hold = await made.hold(PURSE, 10)
    await made.hold(Purse(ACCOUNT, (1,)), 20)
    bank.failing = "shrink"
    with pytest.raises(LedgerUnavailable):
        await made.give_back(ACCOUNT)
    assert till.held_nano == 200
    await (made.sweep() if sweeps else made.give_back(ACCOUNT))
    assert till.held_nano == 30
    assert (await made.raised(hold, 50)).amount_nano == 60


async def test_a_lease_that_could_not_be_extended_is_by_the_next_sweep() -> None:
    till = Till(10_000)
    bank = Unsure(till.ledger, router_id="r")
    made = till.vault(bank)
    hold = await made.hold(PURSE, 50)
    till.now_s = 310.0
    bank.failing = "extend"
    with pytest.raises(LedgerUnavailable):
        await made.sweep()
    await made.sweep()
    assert till.ledger.leases[hold.lease_id].expires_at_s == 910.0


async def test_a_restarted_router_closes_the_leases_of_its_earlier_lives() -> None:
    till = Till(10_000)
    killed = till.vault(MemoryBank(till.ledger, router_id="r", life="1"))
    other = till.vault(MemoryBank(till.ledger, router_id="other"))
    await killed.hold(PURSE, 50)
    await other.hold(PURSE, 50)
    again = till.vault(MemoryBank(till.ledger, router_id="r", life="2"))
    await again.hold(PURSE, 50)
    assert till.held_nano == 300
    await again.sweep()
    assert till.held_nano == 200


async def test_credit_that_a_router_which_is_gone_holds_is_not_told_as_spent() -> None:
    till = Till(1_000)
    killed = till.vault(MemoryBank(till.ledger, router_id="r", life="1"))
    other = till.vault(MemoryBank(till.ledger, router_id="other"), lease_nano=1_000)
    spent = await killed.hold(PURSE, 600)
    again = till.vault(MemoryBank(till.ledger, router_id="r", life="2"))
    for vault in (other, again):
        with pytest.raises(LedgerUnavailable) as refused:
            await vault.hold(PURSE, 700)
        assert refused.value.retry_after_s
        with pytest.raises(CreditExhausted):
            await vault.hold(PURSE, 1_001)
    await till.ledger.settle(
        [record("a", account_id=ACCOUNT, lease_id=spent.lease_id, hold_nano=600, charge_nano=600)]
    )
    await again.sweep()
    with pytest.raises(CreditExhausted):
        await other.hold(PURSE, 700)


async def test_a_charge_on_a_lease_that_was_written_off_costs_at_most_what_is_there() -> None:
    till = Till(100)
    made = till.vault(lease_nano=100)
    hold = await made.hold(PURSE, 100)
    await MemoryBank(till.ledger, router_id="admin").close(hold.lease_id)
    till.ledger.posted[ACCOUNT] -= 70
    late = record("a", account_id=ACCOUNT, lease_id=hold.lease_id, hold_nano=100, charge_nano=100)
    await till.ledger.settle([late])
    assert (till.ledger.posted[ACCOUNT], till.ledger.expense_nano) == (0, 70)
