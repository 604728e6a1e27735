"""Template filters that put an answer of the hardware advisor into words."""

from collections.abc import Iterable, Mapping

from django import template

from marketplace.planning.advisor.wording import WORDS

register = template.Library()


@register.filter
def named(code: str, of: str) -> str:
    """A code's words; one that is not known stays as it is."""
    return str(WORDS[of].get(code, code))


@register.filter
def fleet_named(counts: Mapping[str, int]) -> str:
    """Instances by option, as ``2 × a + 1 × b``."""
    return " + ".join(f"{count} × {name}" for name, count in counts.items())


@register.filter
def each_named(codes: Iterable[str], of: str) -> list[str]:
    """As :func:`named`, for several."""
    return [named(code, of) for code in codes]
