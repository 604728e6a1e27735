"""Numbers with decimals that people type: whichever sign they use, none is a thousandfold."""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.forms import DecimalField, IntegerField
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from marketplace.billing.payments.forms import UsdField as CentsField
from marketplace.endpoints.forms import NewEndpointForm
from marketplace.keys.forms import KeyForm
from marketplace.providers.forms import DiscountField, EndpointForm, UsdField
from marketplace.shared.typed_numbers import TypedDecimalField, plain_number, typed_number
from marketplace.support.forms import LimitsForm
from router.domain.money import NANO_PER_USD


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("1000", "1000"),
        ("1.5", "1.5"),
        ("1,5", "1.5"),
        (" ,5 ", ".5"),
        ("-2,50", "-2.50"),
        ("0,125", "0.125"),
        ("0.125", "0.125"),
        ("1,0000", "1.0000"),
        ("1000,125", "1000.125"),
        ("1,000.50", "1000.50"),
        ("1.000,50", "1000.50"),
        ("1,000,000", "1000000"),
        ("1.000.000", "1000000"),
        ("12.345.678,9", "12345678.9"),
        ("1e3", "1e3"),
    ],
)
def test_a_number_of_either_notation_is_read(typed: str, meant: str) -> None:
    assert plain_number(typed) == meant


@pytest.mark.parametrize(
    ("typed", "spellings"),
    [
        ("1,000", ("1000", "1.00")),
        ("1.000", ("1000", "1.00")),
        ("2,500", ("2500", "2.50")),
        ("1.250", ("1250", "1.25")),
        ("1.125", ("1125", "1.1250")),
        ("-999,999", ("-999999", "-999.9990")),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_both(
    typed: str, spellings: tuple[str, str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        plain_number(typed)
    assert f"write {spellings[0]} or {spellings[1]}." in refused.value.messages[0]
    large, small = map(plain_number, spellings)
    assert Decimal(large) == 1_000 * Decimal(small)


@pytest.mark.parametrize("typed", ["1,00.5", "1,2,3", "12,34,567", "1.2.3", "1.000,5,0", "x", "$1"])
def test_any_other_text_is_no_number(typed: str) -> None:
    for field in (TypedDecimalField(), UsdField(), CentsField(), DiscountField()):
        with pytest.raises(ValidationError, match="Enter a number"):
            field.clean(typed)


def test_prices_of_listings_are_never_a_thousandth() -> None:
    for text in ("1,000", "1.000"):
        with pytest.raises(ValidationError, match="two ways"):
            UsdField().clean(text)
    assert UsdField().clean("1.000,50") == 1_000_500_000_000
    assert UsdField().clean("1,125.00") == 1_125_000_000_000
    assert UsdField().clean("") == 0
    assert CentsField().clean("12,5") == 1_250
    assert DiscountField().clean("12,5") == 1_250
    assert DiscountField().clean("") is None


@given(st.integers(0, 10**15), st.sampled_from(["en", "pt-br"]))
def test_what_a_form_shows_it_reads_again(amount_nano: int, language: str) -> None:
    usd = Decimal(amount_nano) / NANO_PER_USD
    with translation.override(language):
        assert TypedDecimalField().clean(TypedDecimalField().prepare_value(usd)) == usd


def test_a_form_shows_the_readers_notation_and_keeps_what_was_typed() -> None:
    with translation.override("pt-br"):
        assert typed_number(Decimal("1.5")) == "1,5"
        with pytest.raises(ValidationError, match=r"1000 ou 1,00"):
            plain_number("1.000")
    assert TypedDecimalField().prepare_value("1,000") == "1,000"
    assert UsdField().prepare_value(1_125_000_000) == "1.1250"


def test_a_limit_of_ten_thousand_is_not_ten() -> None:
    forms = (KeyForm(), LimitsForm(), NewEndpointForm(), EndpointForm())
    fields = [field for form in forms for field in form.fields.values()]
    whole = [one for one in fields if isinstance(one, IntegerField)]
    limits = [one for one in whole if not isinstance(one, DecimalField)]
    assert len(limits) >= 10
    for field in limits:
        assert field.clean("12") == 12
        for text in ("12.000", "12,000"):
            with pytest.raises(ValidationError, match="Enter a whole number"):
                field.clean(text)
