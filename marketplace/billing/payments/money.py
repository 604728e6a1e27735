"""Stripe counts cents, the ledger nano-USD. Exact both ways, no float."""

from decimal import Decimal

from router.domain.money import NANO_PER_USD

CENTS_PER_USD = 100
NANO_PER_CENT = NANO_PER_USD // CENTS_PER_USD
CURRENCY = "usd"
"""As Stripe writes it. Nothing else is asked for or accepted."""


def nano_of_cents(cents: int) -> int:
    """A cent is 10,000,000 nano-USD."""
    return cents * NANO_PER_CENT


def cents_of_usd(usd: Decimal) -> int:
    """Whole cents; ValueError where there is a fraction of one left."""
    cents = usd * CENTS_PER_USD
    if cents != cents.to_integral_value():
        raise ValueError(f"an amount is in whole cents, got {usd} USD")
    return int(cents)


def usd_of_cents(cents: int) -> Decimal:
    """For forms and messages: always with two decimals."""
    return Decimal(cents).scaleb(-2)
