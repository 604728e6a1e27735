"""Money: exact sums, one rounding, and a hold that always covers the charge."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.domain.money import (
    BASIS_POINTS,
    PRICE_SCALE,
    commission_nano,
    format_usd,
    round_half_even,
)
from router.domain.pricing import (
    PRICE_FIELDS,
    Price,
    PriceClass,
    Usage,
    charge_lines,
    charge_nano,
    hold_nano,
)

nano = st.integers(0, 10**13)
count = st.integers(0, 10**6)
prices = st.builds(Price, st.just(1), nano, nano, nano, nano, nano, nano, nano, nano)
discounts = st.integers(0, BASIS_POINTS)
usages = st.builds(Usage, count, count, count, count, count, count, count)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**9))
def test_rounding_is_half_even_and_exact(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_ties_go_to_the_even_neighbour(whole: int, half: int) -> None:
    below = whole if whole % 2 == 0 else whole + 1
    assert round_half_even((2 * whole + 1) * half, 2 * half) == below


@pytest.mark.parametrize("denominator", [0, -1])
def test_only_a_positive_denominator_divides_money(denominator: int) -> None:
    with pytest.raises(ValueError, match=str(denominator)):
        round_half_even(1, denominator)


@given(prices, usages)
def test_the_lines_sum_to_the_charge_but_for_its_one_rounding(price: Price, usage: Usage) -> None:
    exact = Fraction(sum(line.amount_scaled for line in charge_lines(price, usage)), PRICE_SCALE)
    assert abs(charge_nano(price, usage) - exact) <= Fraction(1, 2)


@given(prices, usages, usages)
def test_a_hold_covers_every_charge_within_its_bound(
    price: Price, usage: Usage, more: Usage
) -> None:
    bound = Usage(
        prompt_tokens=usage.prompt_tokens + usage.cached_tokens + more.prompt_tokens,
        completion_tokens=usage.completion_tokens + usage.reasoning_tokens + more.rows,
        rows=usage.rows + more.rows,
        images=usage.images,
        hardware_ms=usage.hardware_ms + more.hardware_ms,
    )
    assert charge_nano(price, usage) <= hold_nano(price, bound)


@given(st.integers(0, 10**15), st.integers(0, BASIS_POINTS))
def test_commission_is_its_share_of_the_charge_rounded_half_even(charge: int, bps: int) -> None:
    commission = commission_nano(charge, bps)
    assert commission == round(Fraction(charge * bps, BASIS_POINTS))
    assert 0 <= commission <= charge


@pytest.mark.parametrize(("charge", "bps", "commission"), [(15, 1_000, 2), (25, 1_000, 2)])
def test_half_a_nano_goes_to_the_platform_as_often_as_to_the_provider(
    charge: int, bps: int, commission: int
) -> None:
    assert commission_nano(charge, bps) == commission


@pytest.mark.parametrize("bps", [0, BASIS_POINTS])
def test_commission_may_be_nothing_or_all(bps: int) -> None:
    assert commission_nano(7, bps) == 7 * bps // BASIS_POINTS


def test_a_commission_beyond_the_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="10001"):
        commission_nano(1, 10_001)


def test_two_cents_a_million_tokens_is_charged_to_the_nano() -> None:
    price = Price(1, prompt_nano_per_million=20_000_000)
    assert charge_nano(price, Usage(prompt_tokens=1)) == 20
    assert charge_nano(Price(1, prompt_nano_per_million=20), Usage(prompt_tokens=25_000)) == 0
    assert charge_nano(Price(1, prompt_nano_per_million=20), Usage(prompt_tokens=75_000)) == 2


def test_a_second_of_hardware_is_charged_by_the_millisecond() -> None:
    price = Price(1, prompt_nano_per_million=500_000, second_nano=1_500)
    assert charge_nano(price, Usage(hardware_ms=2_000)) == 3_000
    # 1.5 nano of time and half a nano of tokens are two nano: they are rounded together.
    assert charge_nano(price, Usage(prompt_tokens=1, hardware_ms=1)) == 2


@given(prices, st.lists(usages, max_size=5))
def test_lines_of_summed_usage_are_the_sum_of_the_lines(price: Price, calls: list[Usage]) -> None:
    names = Usage.__struct_fields__
    total = Usage(**{name: sum(getattr(call, name) for call in calls) for name in names})
    each = [line for call in calls for line in charge_lines(price, call)]
    together = charge_lines(price, total, requests=len(calls))
    assert sum(line.amount_scaled for line in together) == sum(line.amount_scaled for line in each)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0"), (1_500, "0.0000015"), (-2_000_000_000, "-2"), (1_250_000_000, "1.25")],
)
def test_dollars_are_shown_exactly(amount: int, shown: str) -> None:
    assert format_usd(amount) == shown


@given(prices, usages, discounts)
def test_a_batch_pays_its_discount_less_and_at_most_what_rounding_up_each_price_adds(
    price: Price, usage: Usage, bps: int
) -> None:
    offered = structs.replace(price, batch_discount_bps=bps)
    charged = offered.in_class(PriceClass.BATCH)
    kept = Fraction(BASIS_POINTS - bps, BASIS_POINTS)
    for name in PRICE_FIELDS:
        exact = getattr(price, name) * kept
        assert exact <= getattr(charged, name) < exact + 1
    assert charge_nano(charged, usage) <= charge_nano(offered, usage)
    assert charged.id == offered.id
    lines = Fraction(sum(line.amount_scaled for line in charge_lines(charged, usage)), PRICE_SCALE)
    assert abs(charge_nano(charged, usage) - lines) <= Fraction(1, 2)
    assert charge_nano(charged, usage) <= hold_nano(charged, everything(usage))


@given(prices, discounts)
def test_other_calls_pay_the_price_as_it_is(price: Price, bps: int) -> None:
    offered = structs.replace(price, batch_discount_bps=bps)
    assert offered.in_class(PriceClass.STANDARD) == offered
    assert price.in_class(PriceClass.BATCH) == price


def test_no_price_of_a_batch_becomes_nothing_unless_all_of_it_is_off() -> None:
    price = Price(1, row_nano=1, batch_discount_bps=9_999)
    assert price.in_class(PriceClass.BATCH).row_nano == 1
    free = structs.replace(price, batch_discount_bps=BASIS_POINTS)
    assert charge_nano(free.in_class(PriceClass.BATCH), Usage(rows=10**6)) == 0


def everything(usage: Usage) -> Usage:
    """A bound that this usage is within."""
    return structs.replace(
        usage,
        prompt_tokens=usage.prompt_tokens + usage.cached_tokens,
        cached_tokens=0,
        completion_tokens=usage.completion_tokens + usage.reasoning_tokens,
        reasoning_tokens=0,
    )
