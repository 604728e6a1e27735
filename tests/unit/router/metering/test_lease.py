"""Holds out of leases: nothing appears, nothing disappears, nobody overspends."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.domain.money import Purse
from router.metering.lease import Hold, LeaseBook
from router.ports.bank import LeaseGrant
from tests.examples import examples

ACCOUNT = 7
PURSE = Purse(ACCOUNT)
GRANT = LeaseGrant("lease", PURSE, amount_nano=1_000, expires_at_s=600.0)


class LeaseMachine(RuleBasedStateMachine):
    """Leases of one purse: what is left, held, charged and given back always sums to the grants."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LeaseBook()
        self.holds: list[Hold] = []
        self.granted = self.charged = 0
        self.kept: dict[str, int] = {}
        self.given_back = 0

    @rule(amount=st.integers(1, 1_000))
    def grant(self, amount: int) -> None:
        lease_id = str(len(self.kept))
        self.book.add(LeaseGrant(lease_id, PURSE, amount, 600.0))
        self.kept[lease_id] = amount
        self.granted += amount

    @rule(amount=st.integers(1, 1_200))
    def reserve(self, amount: int) -> None:
        fits = any(lease.remaining_nano >= amount for lease in self.book.usable())
        hold = self.book.reserve(PURSE, amount, now_s=0.0)
        assert (hold is not None) == fits
        if hold is not None:
            self.holds.append(hold)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), more=st.integers(1, 1_200))
    def raise_a_hold(self, data: st.DataObject, more: int) -> None:
        place = data.draw(st.integers(0, len(self.holds) - 1))
        hold = self.holds[place]
        raised = self.book.raised(hold, more)
        if raised is not None:
            assert raised == Hold(hold.lease_id, hold.purse, hold.amount_nano + more)
            self.holds[place] = raised

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), more=st.integers(1, 1_000))
    def grow(self, data: st.DataObject, more: int) -> None:
        lease_id = data.draw(st.sampled_from(self.holds)).lease_id
        if self.book.can_grow(lease_id):
            self.book.grow(lease_id, more)
            self.kept[lease_id] += more
            self.granted += more

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        hold = self.holds.pop(data.draw(st.integers(0, len(self.holds) - 1)))
        charge = data.draw(st.integers(0, hold.amount_nano))
        self.book.settle(hold, charge)
        self.charged += charge

    @rule(told=st.booleans())
    def give_up(self, told: bool) -> None:
        for lease_id, amount in self.book.give_up(ACCOUNT):
            assert 0 <= amount <= self.kept[lease_id]
            assert not self.book.can_grow(lease_id)
            self.given_back += self.kept[lease_id] - amount
            self.kept[lease_id] = amount
            if told:
                self.book.shrunk(lease_id)

    @invariant()
    def the_grants_are_accounted_for(self) -> None:
        held = sum(hold.amount_nano for hold in self.holds)
        assert self.book.held_nano() + held + self.charged + self.given_back == self.granted


TestLease = LeaseMachine.TestCase
TestLease.settings = settings(max_examples=examples(25))


def book_with(*grants: LeaseGrant) -> LeaseBook:
    book = LeaseBook()
    for grant in grants or (GRANT,):
        book.add(grant)
    return book


def reserved(book: LeaseBook, amount_nano: int, now_s: float = 0.0) -> Hold:
    hold = book.reserve(PURSE, amount_nano, now_s)
    assert hold is not None
    return hold


def test_a_charge_beyond_its_hold_is_refused() -> None:
    book = book_with()
    with pytest.raises(ValueError, match="outside the hold"):
        book.settle(reserved(book, 10), 11)


def test_a_free_call_needs_no_lease() -> None:
    assert LeaseBook().reserve(PURSE, 0, 0.0) == Hold("", PURSE, 0)


def test_a_lease_is_not_used_in_its_last_two_seconds() -> None:
    """By then another clock may say that it is over."""
    book = book_with()
    assert book.reserve(PURSE, 1, 597.9) is not None
    assert book.reserve(PURSE, 1, 598.0) is None


def test_a_lease_goes_back_only_when_the_ledger_knows_every_call() -> None:
    book = book_with()
    hold = reserved(book, 10)
    book.settle(hold, 5)
    book.retire_all()
    assert book.finished() == []
    book.acknowledge(hold.lease_id)
    assert book.finished() == ["lease"]
    book.forget("lease")
    assert book.finished() == []


def test_an_idle_lease_goes_back_when_its_time_is_over() -> None:
    book = book_with()
    book.retire_expired(597.9)
    assert book.finished() == []
    book.retire_expired(598.0)
    assert book.finished() == ["lease"]


def test_a_lease_whose_idle_part_was_given_up_is_given_back_after_its_calls() -> None:
    another = Purse(ACCOUNT + 1)
    book = book_with(GRANT, LeaseGrant("another", another, 1_000, 600.0))
    hold = reserved(book, 300)
    assert book.give_up(ACCOUNT) == [("lease", 300)]
    assert book.give_up(ACCOUNT) == [("lease", 300)], "until the bank has heard of it"
    assert book.unsure() == {ACCOUNT}
    book.shrunk("lease")
    assert (book.give_up(ACCOUNT), book.unsure()) == ([], set())
    assert book.finished() == []
    assert book.reserve(another, 1_000, 0.0) is not None
    book.settle(hold, 100)
    # Returned credit belongs to the router that recalled it.
    assert book.reserve(PURSE, 1, 0.0) is None
    book.acknowledge("lease")
    assert book.finished() == ["lease"]


def test_what_has_not_expired_is_used_on_when_something_else_has() -> None:
    book = book_with(GRANT, LeaseGrant("later", PURSE, 1_000, 900.0))
    book.retire_expired(600.0)
    assert [lease.grant.id for lease in book.usable()] == ["later"]
    assert book.finished() == ["lease"]
    assert reserved(book, 10, now_s=600.0).lease_id == "later"


def test_one_lease_follows_another_without_a_gap() -> None:
    book = book_with(GRANT, LeaseGrant("next", PURSE, 1_000, 600.0))
    assert reserved(book, 900).lease_id == "lease"
    assert reserved(book, 200).lease_id == "next"
    assert book.remaining_nano(PURSE) == 800
    assert book.held_nano() == 900


def test_what_is_left_of_a_lease_that_another_followed_goes_back() -> None:
    book = book_with(GRANT, LeaseGrant("next", PURSE, 1_000, 600.0))
    before = reserved(book, 900)
    reserved(book, 200)
    assert book.finished() == []
    book.settle(before, 900)
    book.acknowledge("lease")
    assert book.finished() == ["lease"]


def test_a_lease_that_has_enough_is_used_before_the_next_one() -> None:
    book = book_with(GRANT, LeaseGrant("next", PURSE, 1_000, 600.0))
    reserved(book, 900)
    assert reserved(book, 100).lease_id == "lease"
    assert book.finished() == []


def test_a_purse_with_other_budgets_has_leases_of_its_own() -> None:
    book = book_with()
    assert book.reserve(Purse(ACCOUNT, (1,)), 1, 0.0) is None


def test_a_lease_that_runs_low_says_so_once() -> None:
    book = book_with()
    reserved(book, 200)
    assert not book.low
    reserved(book, 100)
    reserved(book, 100)
    assert [lease.grant.id for lease in book.low] == ["lease"]
