"""Nano-USD integers, and the one place that rounds money.

Prices are integers of nano-USD *per million tokens* (or per single unit for requests, rows,
images and seconds). Before rounding, an amount is an integer numerator over
:data:`PRICE_SCALE`, so a call is summed exactly and rounded once.
"""

from msgspec import Struct

NANO_PER_USD = 1_000_000_000
PRICE_SCALE = 1_000_000
BASIS_POINTS = 10_000
NANO_MAX = 2**63 - 1
"""The most that the ledger can write: about nine billion dollars."""


class Purse(Struct, frozen=True):
    """What a call is paid from: a customer's account, within the budgets that apply to the caller.

    ``budgets`` are ids in ascending order, the order in which the ledger locks them.
    """

    account_id: int
    budgets: tuple[int, ...] = ()


def round_half_even(numerator: int, denominator: int) -> int:
    """Divide integers, ties to the even neighbour. Money is rounded nowhere else."""
    if denominator <= 0:
        raise ValueError(f"denominator must be positive, got {denominator}")
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2):
        return quotient + 1
    return quotient


def commission_nano(charge_nano: int, commission_bps: int) -> int:
    """The platform's part of a charge, in nano-USD; the provider gets the rest."""
    if not 0 <= commission_bps <= BASIS_POINTS:
        raise ValueError(f"commission must be 0..{BASIS_POINTS} basis points, got {commission_bps}")
    return round_half_even(charge_nano * commission_bps, BASIS_POINTS)


def format_usd(amount_nano: int) -> str:
    """Exact decimal dollars without exponent, e.g. ``1_500`` → ``"0.0000015"``."""
    sign = "-" if amount_nano < 0 else ""
    whole, nano = divmod(abs(amount_nano), NANO_PER_USD)
    fraction = f"{nano:09d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
