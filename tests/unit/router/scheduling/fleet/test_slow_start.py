"""A worker that comes back gets its load back step by step."""

from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.fleet.slow_start import SlowStart


def test_a_new_worker_is_not_held_back() -> None:
    assert SlowStart(8).limit == 8


def test_a_ramp_doubles_with_every_round_of_answers() -> None:
    ramp = SlowStart(16)
    ramp.restart()
    rounds = []
    while ramp.limit < 16:
        rounds.append(ramp.limit)
        for _ in range(ramp.limit):
            ramp.answered(16)
    assert rounds == [1, 2, 4, 8]


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=200))
def test_a_limit_stays_between_one_and_the_slots(slots: int, events: list[bool]) -> None:
    ramp = SlowStart(slots)
    for is_answer in events:
        if is_answer:
            ramp.answered(slots)
        else:
            ramp.restart()
        assert 1 <= ramp.limit <= slots
