"""Holds out of leases: nothing appears, nothing disappears, nobody overspends."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.adapters.memory import MemoryLedger
from router.domain.errors import CreditExhausted, LedgerUnavailable
from router.metering.lease import CLOCK_SKEW_S, Hold, LeaseBook
from router.metering.vault import Vault
from router.ports import LeaseGrant

ACCOUNT = 7
GRANT = LeaseGrant("lease", ACCOUNT, amount_nano=1_000, expires_at_s=600.0)


class LeaseMachine(RuleBasedStateMachine):
    """One lease: what is left, what is held and what was charged always sum to the grant."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook()
        self.book.add(GRANT)
        self.holds: list[Hold] = []
        self.charged = 0

    @rule(amount=st.integers(1, 1_200))
    def reserve(self, amount: int) -> None:
        left = self.book.held_nano()
        hold = self.book.reserve(ACCOUNT, amount, now_s=0.0)
        assert (hold is not None) == (amount <= left)
        if hold is not None:
            self.holds.append(hold)

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        hold = self.holds.pop(data.draw(st.integers(0, len(self.holds) - 1)))
        charge = data.draw(st.integers(0, hold.amount_nano))
        self.book.settle(hold, charge)
        self.charged += charge

    @invariant()
    def the_grant_is_accounted_for(self) -> None:
        held = sum(hold.amount_nano for hold in self.holds)
        assert self.book.held_nano() + held + self.charged == GRANT.amount_nano


TestLease = LeaseMachine.TestCase
TestLease.settings = settings(max_examples=50, deadline=None)


def test_a_charge_beyond_its_hold_is_refused() -> None:
    book = LeaseBook()
    book.add(GRANT)
    hold = book.reserve(ACCOUNT, 10, 0.0)
    assert hold is not None
    with pytest.raises(ValueError, match="outside the hold"):
        book.settle(hold, 11)


def test_a_free_call_needs_no_lease() -> None:
    assert LeaseBook().reserve(ACCOUNT, 0, 0.0) == Hold("", ACCOUNT, 0)


def test_a_lease_is_not_used_near_its_end() -> None:
    book = LeaseBook()
    book.add(GRANT)
    assert book.reserve(ACCOUNT, 1, GRANT.expires_at_s - CLOCK_SKEW_S - 0.1) is not None
    assert book.reserve(ACCOUNT, 1, GRANT.expires_at_s - CLOCK_SKEW_S) is None


def test_a_lease_goes_back_only_when_the_ledger_knows_every_call() -> None:
    book = LeaseBook()
    book.add(GRANT)
    hold = book.reserve(ACCOUNT, 10, 0.0)
    assert hold is not None
    book.settle(hold, 5)
    book.retire_all()
    assert book.finished() == []
    book.acknowledge(hold.lease_id)
    assert book.finished() == ["lease"]
    book.forget("lease")
    assert book.finished() == []


def test_an_idle_lease_goes_back_when_its_time_is_over() -> None:
    book = LeaseBook()
    book.add(GRANT)
    book.retire_expired(GRANT.expires_at_s - CLOCK_SKEW_S - 0.1)
    assert book.finished() == []
    book.retire_expired(GRANT.expires_at_s - CLOCK_SKEW_S)
    assert book.finished() == ["lease"]


def vault(ledger: MemoryLedger, *, lease_nano: int = 100) -> Vault:
    return Vault(ledger, lease_nano=lease_nano, clock=lambda: 0.0)


async def test_500_at_once_with_funds_for_10_are_exactly_10() -> None:
    made = vault(MemoryLedger(clock=lambda: 0.0, balances_nano={ACCOUNT: 10_000}), lease_nano=3_000)
    outcomes = await asyncio.gather(
        *(made.hold(ACCOUNT, 1_000) for _ in range(500)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Hold) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, CreditExhausted) for outcome in outcomes) == 490


async def test_concurrent_first_calls_fetch_one_lease() -> None:
    ledger = MemoryLedger(clock=lambda: 0.0, balances_nano={ACCOUNT: 10_000})
    made = vault(ledger, lease_nano=5_000)
    await asyncio.gather(*(made.hold(ACCOUNT, 10) for _ in range(50)))
    assert ledger.held == {ACCOUNT: 5_000}


async def test_a_lease_that_could_not_be_returned_is_tried_again() -> None:
    class AwayOnce(MemoryLedger):
        away = True

        async def close(self, lease_id: str) -> None:
            if self.away:
                self.away = False
                raise LedgerUnavailable("away")
            await super().close(lease_id)

    ledger = AwayOnce(clock=lambda: 0.0, balances_nano={ACCOUNT: 10_000})
    made = vault(ledger)
    hold = await made.hold(ACCOUNT, 50)
    made.book.settle(hold, 0)
    made.book.acknowledge(hold.lease_id)
    made.book.retire_all()
    with pytest.raises(LedgerUnavailable):
        await made.return_finished()
    await made.return_finished()
    assert ledger.held == {ACCOUNT: 0}


async def test_a_returned_lease_leaves_nothing_held() -> None:
    ledger = MemoryLedger(clock=lambda: 0.0, balances_nano={ACCOUNT: 10_000})
    made = vault(ledger)
    hold = await made.hold(ACCOUNT, 50)
    made.book.settle(hold, 0)
    made.book.acknowledge(hold.lease_id)
    made.book.retire_all()
    await made.return_finished()
    assert ledger.held == {ACCOUNT: 0}
