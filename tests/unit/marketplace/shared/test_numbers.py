"""Whole numbers of addresses and forms, whatever stands there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.shared.numbers import ID_MAX, whole


@given(st.integers(0, ID_MAX))
def test_every_id_is_read(number: int) -> None:
    assert whole(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "x", "²", "٣", "-1", "1.0", " 1", "9" * 5_000, str(ID_MAX + 1)]
)
def test_any_other_text_is_none(text: str) -> None:
    assert whole(text) is None


def test_nothing_is_above_the_most() -> None:
    assert (whole("60", 60), whole("61", 60), whole("600", 60)) == (60, None, None)
