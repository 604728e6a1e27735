"""Words that pages cannot do without, each with its meaning a click away."""

from django import template
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

register = template.Library()

MEANINGS: dict[str, Promise] = {
    "p50": _("Half of the calls took at most this long."),
    "p95": _("p50: half of the calls took at most this long. p95: 95 of 100 did."),
    "p99": _("99 of 100 calls took at most this long."),
    "first-byte": _("From sending a request until the first part of its answer arrives."),
    "uptime": _("The share of calls that reached a machine and were not failed by it."),
    "hold": _("Money set aside for one call, then either charged or returned."),
    "lease": _("Credit that one router may spend for a time; what it does not spend returns."),
    "knee": _("The load with the highest ratio of answers within the SLO to mean latency."),
}
"""By the word's id. ``docs/glossary.md`` has them too."""


@register.simple_block_tag
def explained(content: str, word: str) -> SafeString:
    """The content as a button that shows the meaning of ``word``; once on a page for each word."""
    return format_html(
        '<button class="term" type="button" popovertarget="term-{}">{}</button>'
        '<span class="tip" id="term-{}" popover>{}</span>',
        word,
        content,
        word,
        MEANINGS[word],
    )
