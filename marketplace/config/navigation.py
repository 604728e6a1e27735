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
    guide: str = ""
    """The page of the documentation about it, as below `/docs/`."""

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
            Entry(
                _("Benchmarks"),
                "benchmarks",
                frozenset({"benchmark", "benchmarks-compare"}),
                guide="explanation/benchmarks/",
            ),
            Entry(
                _("Hardware advisor"),
                "advisor",
                frozenset({"advice"}),
                Audience.MEMBERS,
                guide="explanation/advisor/",
            ),
        ),
    ),
    Section(
        _("Console"),
        (
            Entry(
                _("Usage"),
                "usage",
                frozenset({"call"}),
                guide="explanation/billing/#the-rule-for-each-way-of-ending",
            ),
            Entry(_("Batches"), "batches", frozenset({"batch"}), guide="how-to/run-a-batch/"),
            Entry(
                _("Predictions"),
                "predictions",
                frozenset({"prediction"}),
                guide="reference/http-api/#predictions",
            ),
            Entry(
                _("Keys"),
                "keys",
                frozenset({"key", "key-rotate", "authorize"}),
                guide="reference/http-api/#authentication",
            ),
            Entry(
                _("Your endpoints"),
                "own-endpoints",
                frozenset(
                    {"own-endpoint", "own-endpoint-new", "own-endpoint-new-host"}
                    | {"own-endpoint-hosts", "own-endpoint-rotate"}
                ),
                guide="how-to/use-your-own-endpoint/",
            ),
            Entry(
                _("Presets"),
                "presets",
                frozenset({"preset", "preset-new"}),
                guide="how-to/use-presets/",
            ),
            Entry(_("First call"), "start", guide="tutorial/first-call/"),
            Entry(
                _("Webhooks"),
                "webhooks",
                frozenset({"webhook-delivery"}),
                guide="how-to/receive-webhooks/",
            ),
            Entry(_("Billing"), "billing", frozenset({"payment"}), guide="explanation/billing/"),
            Entry(_("Budgets"), "budgets", guide="explanation/billing/#budgets"),
            Entry(_("Organisation"), "organisation"),
            Entry(_("Audit log"), "audit-log", guide="how-to/sign-people-in/#the-audit-log"),
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
                guide="how-to/publish-a-model/",
            ),
            Entry(
                _("Pipelines"),
                "pipelines",
                frozenset({"pipeline", "pipeline-new", "pipeline-version"}),
                guide="how-to/run-a-pipeline/",
            ),
            Entry(_("Earnings"), "earnings", guide="explanation/billing/#what-a-provider-earns"),
            Entry(
                _("Reviews"),
                "reviews",
                frozenset({"review"}),
                Audience.STAFF,
                guide="how-to/publish-a-model/#measured-reviewed-live",
            ),
        ),
        Audience.MEMBERS,
    ),
    Section(
        _("Platform"),
        (
            Entry(
                _("Topology"),
                "topology",
                frozenset({"worker"}),
                guide="how-to/run-the-platform/#the-live-topology",
            ),
            Entry(
                _("Routes"),
                "routes",
                frozenset({"route", "policy-edit"}),
                guide="explanation/tuning/",
            ),
            Entry(
                _("What if"), "what-if", frozenset({"what-if-answer"}), guide="how-to/ask-what-if/"
            ),
            Entry(
                _("Credit requests"),
                "credit-requests",
                guide="explanation/billing/#money-from-outside",
            ),
            Entry(
                _("Reconciliation"), "reconciliation", guide="how-to/when-the-books-do-not-balance/"
            ),
            Entry(_("Dead letters"), "dead-letters", guide="how-to/run-the-platform/#dead-letters"),
            Entry(
                _("Support"),
                "support",
                frozenset({"support-organisation", "support-person", "support-call"}),
                guide="how-to/run-the-platform/#support-a-customer",
            ),
            Entry(_("Every change"), "audit-log-all", guide="how-to/sign-people-in/#the-audit-log"),
            Entry(_("Admin"), "admin:index"),
        ),
        Audience.STAFF,
    ),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context of every page: ``sections`` with entries for the viewer, and the page's ``guide``."""
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
    open_entries = (entry for section in SECTIONS for entry in section.entries if entry.holds(here))
    guide = next((entry.guide for entry in open_entries), "")
    return {
        "guide": f"/docs/{guide}",
        "sections": seen,
        "section": next((section for section in seen if section["is_open"]), None),
    }
