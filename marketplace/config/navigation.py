"""The navigation bars: sections, their pages, and their audience.

The first bar has the sections, the second the pages of the open section.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.access import is_staff


class Audience(IntEnum):
    """Who sees an entry. Each audience also sees the entries of those before it."""

    EVERYONE = 0
    MEMBERS = 1
    STAFF = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A page, and the URL names of the pages below it."""

    label: str | Promise
    url_name: str
    beneath: frozenset[str] = frozenset()
    audience: Audience = Audience.EVERYONE

    def holds(self, url_name: str) -> bool:
        """Whether the page with this name is this one or below it."""
        return url_name == self.url_name or url_name in self.beneath


@dataclass(frozen=True, slots=True)
class Section:
    """A group of pages; its link is that of its first page."""

    label: str | Promise
    entries: tuple[Entry, ...]
    audience: Audience = field(default=Audience.EVERYONE)


SECTIONS = (
    Section(
        _("Models"),
        (
            Entry(_("Catalog"), "catalog", frozenset({"model"})),
            Entry(_("Rankings"), "rankings"),
            Entry(_("Compare"), "compare"),
            Entry(_("Benchmarks"), "benchmarks", frozenset({"benchmark", "benchmarks-compare"})),
            Entry(_("Hardware advisor"), "advisor", frozenset({"advice"}), Audience.MEMBERS),
        ),
    ),
    Section(
        _("Console"),
        (
            Entry(_("Usage"), "usage", frozenset({"call"})),
            Entry(_("Batches"), "batches", frozenset({"batch"})),
            Entry(_("Predictions"), "predictions", frozenset({"prediction"})),
            Entry(_("Keys"), "keys", frozenset({"key", "key-rotate"})),
            Entry(_("First call"), "start"),
            Entry(_("Webhooks"), "webhooks", frozenset({"webhook-delivery"})),
            Entry(_("Billing"), "billing", frozenset({"payment"})),
            Entry(_("Budgets"), "budgets"),
            Entry(_("Organisation"), "organisation"),
            Entry(_("Audit log"), "audit-log"),
        ),
        Audience.MEMBERS,
    ),
    Section(
        _("Provide"),
        (
            Entry(
                _("Listings"),
                "provide",
                frozenset(
                    {"listing", "listing-edit", "provider-create", "provider-edit"}
                    | {"deployment", "deployment-price"}
                ),
            ),
            Entry(
                _("Pipelines"),
                "pipelines",
                frozenset({"pipeline", "pipeline-new", "pipeline-version"}),
            ),
            Entry(_("Earnings"), "earnings"),
            Entry(_("Reviews"), "reviews", frozenset({"review"}), Audience.STAFF),
        ),
        Audience.MEMBERS,
    ),
    Section(
        _("Platform"),
        (
            Entry(_("Topology"), "topology", frozenset({"worker"})),
            Entry(_("Routes"), "routes", frozenset({"route", "policy-edit"})),
            Entry(_("What if"), "what-if", frozenset({"what-if-answer"})),
            Entry(_("Credit requests"), "credit-requests"),
            Entry(_("Reconciliation"), "reconciliation"),
            Entry(_("Dead letters"), "dead-letters"),
            Entry(
                _("Support"),
                "support",
                frozenset({"support-organisation", "support-person", "support-call"}),
            ),
            Entry(_("Every change"), "audit-log-all"),
            Entry(_("Admin"), "admin:index"),
        ),
        Audience.STAFF,
    ),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: ``sections`` with the entries that the viewer may see."""
    audience = Audience.EVERYONE
    if request.user.is_authenticated:
        audience = Audience.STAFF if is_staff(request) else Audience.MEMBERS
    match = request.resolver_match
    here = match.view_name if match else ""
    seen = [
        {
            "label": section.label,
            "is_open": any(entry.holds(here) for entry in section.entries),
            "entries": [
                {"label": entry.label, "url_name": entry.url_name, "is_open": entry.holds(here)}
                for entry in section.entries
                if entry.audience <= audience
            ],
        }
        for section in SECTIONS
        if section.audience <= audience
    ]
    return {
        "sections": seen,
        "section": next((section for section in seen if section["is_open"]), None),
    }
