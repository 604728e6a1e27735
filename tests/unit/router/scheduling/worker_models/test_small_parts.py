"""The concepts that fit on a page each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.estimates.batch_curve import BatchCurve
from router.scheduling.estimates.censored import AGE_TOLERANCE, evidence
from router.scheduling.fleet.budget import hedge_budget, retry_budget
from router.scheduling.fleet.overcommit import credit
from router.scheduling.fleet.sharding import owner
from router.scheduling.fleet.slot_share import slot_shares
from router.scheduling.fleet.slow_start import SlowStart


class Running:
    def __init__(self, started_s: float, expected_s: float) -> None:
        self.started_s = started_s
        self.expected_s = expected_s


def test_a_worker_is_as_slow_as_the_age_of_its_requests_says() -> None:
    running = [Running(0.0, 1.0), Running(0.0, 1.0)]
    assert evidence(running, 1.0) == (1.0, AGE_TOLERANCE)
    slow, since_s = evidence(running, 6.0)
    assert slow == pytest.approx(6.0 / AGE_TOLERANCE)
    assert since_s == AGE_TOLERANCE
    assert evidence([], 5.0)[0] == 1.0


def test_a_batch_curve_is_linear_between_its_points_and_beyond() -> None:
    curve = BatchCurve(((4, 2.0), (8, 4.0)))
    assert curve.factor(1) == 1.0
    assert curve.factor(4) == 2.0
    assert curve.factor(6) == 3.0
    assert curve.factor(10) == 5.0
    assert BatchCurve().factor(64) == 1.0


@pytest.mark.parametrize("points", [((4, 2.0), (4, 3.0)), ((8, 1.0), (4, 1.0)), ((1, 0.0),)])
def test_a_batch_curve_that_makes_no_sense_is_refused(points: tuple) -> None:
    with pytest.raises(ValueError, match="batch curve"):
        BatchCurve(points)


def test_a_returning_workers_limit_grows_with_each_answer() -> None:
    ramp = SlowStart(3)
    assert ramp.limit == 3
    ramp.restart()
    limits = []
    for _ in range(4):
        limits.append(ramp.limit)
        ramp.answered(3)
    assert limits == [1, 2, 3, 3]


def test_the_reserve_at_a_worker_hides_its_round_trip() -> None:
    assert credit(4, service_s=0.1, rtt_s=0.001) == 1
    assert credit(16, service_s=0.04, rtt_s=0.010) == 4
    assert credit(4, service_s=0.001, rtt_s=0.1) == 4, "no more than a round of slots"


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


def test_every_router_names_the_same_owner_whatever_order_it_sees_them_in() -> None:
    assert owner("m", ["a", "b", "c"]) == owner("m", ["c", "a", "b"])
    with pytest.raises(ValueError, match="empty"):
        owner("m", [])


@given(st.sets(st.text(min_size=1), min_size=2, max_size=6), st.data())
def test_a_router_that_goes_moves_only_its_own_models(names: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(names)))
    for number in range(4):
        before = owner(f"model-{number}", names)
        if before != gone:
            assert owner(f"model-{number}", names - {gone}) == before


def test_owners_are_spread_evenly() -> None:
    owned = [owner(f"model-{n}", ["a", "b", "c", "d"]) for n in range(2_000)]
    assert all(400 < owned.count(router) < 600 for router in "abcd")


@given(
    st.integers(0, 64),
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1e6), min_size=1, max_size=8),
)
def test_shares_add_up_and_nobody_is_left_out_while_there_are_enough(
    slots: int, demands: dict[str, float]
) -> None:
    shares = slot_shares(slots, demands)
    assert sum(shares.values()) == slots
    assert set(shares) == set(demands)
    assert min(shares.values()) >= (1 if slots >= len(demands) else 0)


def test_shares_follow_demand() -> None:
    assert slot_shares(10, {"busy": 9.0, "calm": 1.0}) == {"busy": 8, "calm": 2}
    assert slot_shares(4, {"one": 3.0}) == {"one": 4}
    assert slot_shares(4, {}) == {}
