"""Numbers as people read them, with their units."""

from decimal import Decimal

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from router.domain.money import NANO_PER_USD

register = template.Library()

SIGNIFICANT_DIGITS = 3
MILLISECONDS_PER_SECOND = 1000


@register.filter
def usd(amount_nano: Decimal | int | None) -> str:
    """Nano-USD as dollars: two decimals from a dollar on, below it as many as matter."""
    if amount_nano is None:
        return "–"
    if not amount_nano:
        return "$0"
    dollars = abs(Decimal(amount_nano)) / NANO_PER_USD
    decimals = 2
    if dollars < 1:
        # adjusted() is the exponent of the first digit: -6 for $0.00000294.
        decimals = min(9, max(2, SIGNIFICANT_DIGITS - 1 - dollars.adjusted()))
        # normalize() drops the zeros at the end: as many decimals as are left, at least cents.
        rounded = round(dollars, decimals).normalize()
        decimals = max(2, -int(rounded.as_tuple().exponent))
    return f"{'−' if amount_nano < 0 else ''}${_number(dollars, decimals)}"


@register.filter
def duration(milliseconds: float | None, zero: str = "–") -> str:
    """Milliseconds, or seconds from one second on; ``zero`` where nothing was measured."""
    if not milliseconds:
        return zero
    if milliseconds >= MILLISECONDS_PER_SECOND:
        return _("%(seconds)s s") % {"seconds": _number(milliseconds / MILLISECONDS_PER_SECOND, 2)}
    decimals = 1 if milliseconds < 10 else 0
    return _("%(milliseconds)s ms") % {"milliseconds": _number(milliseconds, decimals)}


@register.filter
def per_second(value: float | None) -> str:
    """A rate of tokens."""
    if not value:
        return "–"
    return _("%(rate)s tok/s") % {"rate": _number(value, 0)}


@register.filter
def percent_of(part: float, whole: float) -> str:
    """A share as a plain CSS number, 0 to 100."""
    return f"{100 * part / whole:.2f}" if whole else "0"


def _number(value: Decimal | float, decimals: int) -> str:
    """In the reader's notation. Django's own formatting cuts digits off: rounded here, first."""
    return str(number_format(round(Decimal(value), decimals), decimal_pos=decimals))
