"""How much extra load is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.budget import Budget, hedge_budget, retry_budget


@given(
    share=st.floats(0, 1),
    floor=st.floats(0, 10),
    calls=st.lists(st.booleans(), max_size=200),
)
def test_extras_stay_within_the_share_and_the_floor(
    share: float, floor: float, calls: list[bool]
) -> None:
    budget = Budget(share=share, floor=floor, most=50.0)
    deposits = extras = 0
    for is_call in calls:
        if is_call:
            budget.deposit()
            deposits += 1
        else:
            extras += budget.withdraw()
        assert extras <= floor + share * deposits + 1e-6


def test_a_refusal_takes_nothing() -> None:
    budget = Budget(share=0.5, floor=0.5, most=10.0)
    assert not any(budget.withdraw() for _ in range(10))
    budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()


@pytest.mark.parametrize("share", [0.001, 0.05, 1.0])
def test_two_hedges_are_always_there_at_the_start(share: float) -> None:
    budget = hedge_budget(share)
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]


def test_a_share_of_nothing_is_no_hedge_at_all() -> None:
    budget = hedge_budget(0.0)
    budget.deposit()
    assert not budget.withdraw()


def test_retries_are_a_share_of_calls_above_a_floor() -> None:
    budget = retry_budget()
    assert sum(budget.withdraw() for _ in range(100)) == 10
    for _ in range(50):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) in (9, 10)


def test_a_hedge_budget_does_not_grow_without_bound() -> None:
    budget = hedge_budget(0.05)
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 20
