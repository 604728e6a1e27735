"""Converts between Stripe's cents and the ledger's nano-USD, exactly and without floats."""

from decimal import Decimal

from router.domain.money import NANO_PER_USD

CENTS_PER_USD = 100
NANO_PER_CENT = NANO_PER_USD // CENTS_PER_USD
CURRENCY = "usd"
"""The only currency, as Stripe writes it."""


def nano_of_cents(cents: int) -> int:
    """Nano-USD of cents; a cent is 10,000,000 nano-USD."""
    return cents * NANO_PER_CENT


def cents_of_usd(usd: Decimal) -> int:
    """Whole cents; ValueError for a fraction of a cent."""
    cents = usd * CENTS_PER_USD
    if cents != cents.to_integral_value():
        raise ValueError(f"an amount is in whole cents, got {usd} USD")
    return int(cents)


def usd_of_cents(cents: int) -> Decimal:
    """Dollars with two decimals, for forms and messages."""
    return Decimal(cents).scaleb(-2)
