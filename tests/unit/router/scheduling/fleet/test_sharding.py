"""Which router owns a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.sharding import owner


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
