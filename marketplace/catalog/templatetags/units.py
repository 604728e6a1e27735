"""Numbers as people read them, with their units."""

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from router.domain.money import NANO_PER_USD

register = template.Library()

SIGNIFICANT_DIGITS = 3
MILLISECONDS_PER_SECOND = 1000


@register.filter
def usd(amount_nano: int | None) -> str:
    """Nano-USD as dollars: two decimals from a cent on, below it as many as matter."""
    if amount_nano is None:
        return "–"
    if amount_nano == 0:
        return "$0"
    dollars = abs(amount_nano) / NANO_PER_USD
    decimals = 2
    if dollars < 1:
        exact = f"{abs(amount_nano):010d}"
        leading_zeros = len(exact[-9:]) - len(exact[-9:].lstrip("0"))
        decimals = max(2, min(9, leading_zeros + SIGNIFICANT_DIGITS))
    sign = "−" if amount_nano < 0 else ""
    text = number_format(dollars, decimal_pos=decimals)
    if decimals > 2:
        text = text.rstrip("0")
    return f"{sign}${text}"


@register.filter
def duration(milliseconds: float | None) -> str:
    """Milliseconds, or seconds from one second on; "–" where nothing was measured."""
    if not milliseconds:
        return "–"
    if milliseconds >= MILLISECONDS_PER_SECOND:
        return _("%(seconds)s s") % {
            "seconds": number_format(milliseconds / MILLISECONDS_PER_SECOND, decimal_pos=2)
        }
    decimals = 1 if milliseconds < 10 else 0
    return _("%(milliseconds)s ms") % {
        "milliseconds": number_format(milliseconds, decimal_pos=decimals)
    }


@register.filter
def per_second(value: float | None) -> str:
    """A rate of tokens."""
    if not value:
        return "–"
    return _("%(rate)s tok/s") % {"rate": number_format(value, decimal_pos=0)}


@register.filter
def percent_of(part: float, whole: float) -> str:
    """A share as a plain CSS number, 0 to 100."""
    return f"{100 * part / whole:.2f}" if whole else "0"
