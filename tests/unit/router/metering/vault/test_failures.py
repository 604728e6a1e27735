"""Ledgers that are away or do not answer, and routers that are gone."""

import asyncio

import pytest

from router.adapters.memory import MemoryBank
from router.domain.errors import CreditExhausted, LedgerUnavailable
from router.domain.money import Purse
from router.metering import vault as module
from router.metering.vault import DOUBT_S
from router.ports.bank import LeaseGrant, Shortage
from tests.unit.router.metering.test_lease import ACCOUNT, PURSE
from tests.unit.router.metering.vault.till import Till, finish
from tests.unit.router.pipeline.line import in_time
from tests.unit.router.records import record


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
