"""Template filters that format numbers with their units."""

from decimal import Decimal

from django import template
from django.utils.translation import gettext as _

from marketplace.catalog.models import Offer
from marketplace.catalog.prices import PER_UNIT, number_text
from marketplace.catalog.verdicts import VERDICTS
from router.domain.money import NANO_PER_USD

register = template.Library()

SIGNIFICANT_DIGITS = 3
MILLISECONDS_PER_SECOND = 1000
GREW_MANY_TIMES = 10
SECONDS_PER_MINUTE = 60
TOLD_IN_MINUTES_S = 90


@register.filter
def usd(amount_nano: Decimal | int | None) -> str:
    """Nano-USD as dollars: two decimals from a dollar on, up to three significant digits below."""
    if amount_nano is None:
        return "–"
    if not amount_nano:
        return "$0"
    dollars = abs(Decimal(amount_nano)) / NANO_PER_USD
    decimals = 2
    if dollars < 1:
        # adjusted() is the exponent of the first digit: -6 for $0.00000294.
        decimals = min(9, max(2, SIGNIFICANT_DIGITS - 1 - dollars.adjusted()))
        # normalize() drops trailing zeros; cents always stay.
        rounded = round(dollars, decimals).normalize()
        decimals = max(2, -int(rounded.as_tuple().exponent))
    return f"{'−' if amount_nano < 0 else ''}${number_text(dollars, decimals)}"


@register.filter
def unit_prices(offer: Offer) -> list[tuple[int, str]]:
    """An offer's prices other than token prices: nano-USD, and the unit they are per."""
    units, per_units = PER_UNIT[offer.unit]
    prices = [
        (units * offer.row_nano, str(per_units)),
        (offer.image_nano, _("per image")),
        (offer.second_nano, _("per second of hardware")),
        (offer.request_nano, _("per call")),
    ]
    return [(price, unit) for price, unit in prices if price]


@register.filter
def basis_points(bps: int) -> str:
    """Basis points as a percentage, without the sign."""
    return number_text(Decimal(bps) / 100, 2 if bps % 100 else 0)


@register.filter
def duration(milliseconds: float | None, zero: str = "–") -> str:
    """Milliseconds below one second, else seconds; ``zero`` if nothing was measured."""
    if not milliseconds:
        return zero
    if milliseconds >= MILLISECONDS_PER_SECOND:
        return _("%(seconds)s s") % {
            "seconds": number_text(milliseconds / MILLISECONDS_PER_SECOND, 2)
        }
    decimals = 1 if milliseconds < 10 else 0
    return _("%(milliseconds)s ms") % {"milliseconds": number_text(milliseconds, decimals)}


@register.filter
def time_left(seconds: int | None) -> str:
    """How much longer something takes, as nearly as people care; "" if nobody can say."""
    if seconds is None:
        return ""
    if seconds < TOLD_IN_MINUTES_S:
        return _("about %(n)s s left") % {"n": number_text(seconds, 0)}
    return _("about %(n)s min left") % {"n": number_text(seconds / SECONDS_PER_MINUTE, 0)}


@register.filter
def per_second(value: float | None) -> str:
    """Tokens per second."""
    if not value:
        return "–"
    return _("%(rate)s tok/s") % {"rate": number_text(value, 0)}


@register.filter
def share(part: float | None, decimals: int = 1) -> str:
    """A share from 0 to 1 as a percentage, without the sign."""
    return "–" if part is None else number_text(100 * part, decimals)


@register.filter
def uptime(share: float | None) -> str:
    """A share of calls from 0 to 1 as a percentage; never 100 % if one of them failed."""
    # Django templates pass "" for a missing value.
    if not isinstance(share, float | int):
        return "–"
    return "100 %" if share == 1 else f"{number_text(min(100 * share, 99.99), 2)} %"


@register.filter
def verdict_named(verdict: str) -> str:
    """The text of a verdict in a decision's record."""
    return str(VERDICTS.get(verdict, verdict))


@register.filter
def dollars(amount_usd: float | None) -> str:
    """Dollars as :func:`usd` writes them."""
    return usd(None if amount_usd is None else round(Decimal(amount_usd) * NANO_PER_USD))


@register.filter
def significant(value: float) -> str:
    """Four digits that matter."""
    rounded = Decimal(f"{value:.4g}").normalize()
    return number_text(rounded, max(-int(rounded.as_tuple().exponent), 0))


@register.filter
def change_from(now: float, then: float) -> str:
    """From a figure above 0 to another: a percentage with its sign, or "×12" from ten times on."""
    if now >= GREW_MANY_TIMES * then:
        return f"×{number_text(now / then, 0)}"
    percent = round(100 * (now - then) / then)
    return f"{'−' if percent < 0 else '+'}{number_text(abs(percent), 0)} %"


@register.filter
def percent_of(part: float, whole: float) -> str:
    """A percentage as a plain CSS number, 0 to 100."""
    return f"{100 * part / whole:.2f}" if whole else "0"
