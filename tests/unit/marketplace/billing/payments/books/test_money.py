"""Cents, dollars and nano-USD: exact both ways."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.billing.payments.books.money import cents_of_usd, nano_of_cents, usd_of_cents
from router.domain.money import NANO_PER_USD

CENTS = st.integers(0, 10**12)


@given(CENTS)
def test_cents_become_dollars_and_cents_again(cents: int) -> None:
    assert cents_of_usd(usd_of_cents(cents)) == cents


@given(CENTS)
def test_cents_become_nano_without_a_remainder(cents: int) -> None:
    assert divmod(nano_of_cents(cents) * 100, NANO_PER_USD) == (cents, 0)
    assert Decimal(nano_of_cents(cents)) == usd_of_cents(cents) * NANO_PER_USD


@given(CENTS, CENTS)
def test_parts_sum_to_the_whole(part: int, rest: int) -> None:
    assert nano_of_cents(part) + nano_of_cents(rest) == nano_of_cents(part + rest)


@given(st.decimals(0, 10**9, places=5))
def test_a_fraction_of_a_cent_is_refused_and_never_rounded(usd: Decimal) -> None:
    if usd == usd.quantize(Decimal("0.01")):
        assert cents_of_usd(usd) == usd * 100
    else:
        with pytest.raises(ValueError, match="whole cents"):
            cents_of_usd(usd)


@pytest.mark.parametrize(("cents", "shown"), [(0, "0.00"), (5, "0.05"), (2_500, "25.00")])
def test_dollars_always_have_two_decimals(cents: int, shown: str) -> None:
    assert str(usd_of_cents(cents)) == shown
