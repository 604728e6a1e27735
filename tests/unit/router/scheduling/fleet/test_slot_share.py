"""How routers divide the slots of a worker."""

from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.slot_share import slot_shares


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
