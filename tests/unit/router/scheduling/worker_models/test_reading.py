"""How many answers at once an engine can give as fast as they are read."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.scheduling.worker_models.reading import READING_S, SLOW, Reading


def kept_at(answers: float, token_s: float, seen: Reading | None = None) -> Reading:
    seen = seen or Reading()
    for _ in range(400):
        seen.observe(token_s, answers)
    return seen


def test_an_engine_of_which_nothing_was_seen_is_not_held_back() -> None:
    assert Reading().answers_max(0.05) == inf


def test_an_engine_much_quicker_than_its_readers_is_not_held_back() -> None:
    assert kept_at(60, 0.02).answers_max(0.01) == inf


def test_an_engine_whose_tokens_come_too_slowly_gets_fewer_answers() -> None:
    assert kept_at(40, 2 * READING_S).answers_max(0.05) < 25


@given(alone_s=st.floats(0.005, 0.12), each_s=st.floats(0.001, 0.05), first=st.integers(1, 60))
def test_an_engine_that_is_kept_at_that_gives_tokens_as_fast_as_they_are_read(
    alone_s: float, each_s: float, first: int
) -> None:
    seen, answers = Reading(), float(first)
    for _ in range(30):
        kept_at(answers, alone_s + each_s * answers, seen)
        most = seen.answers_max(alone_s)
        answers = max(min(most, 200.0), 1.0)
    token_s = alone_s + each_s * answers
    if 1 < answers < 200:
        assert token_s == pytest.approx(READING_S, rel=0.02)
    assert token_s <= READING_S * 1.02 or answers == 1


def test_an_engine_slower_than_a_reader_even_alone_still_gives_more_than_one() -> None:
    alone_s, each_s = 0.3, 0.03
    seen, answers = Reading(), 1.0
    for _ in range(30):
        kept_at(answers, alone_s + each_s * answers, seen)
        answers = max(seen.answers_max(alone_s), 1.0)
    assert answers > 3
    assert alone_s + each_s * answers == pytest.approx(SLOW * alone_s, rel=0.02)
