"""What the page of a listing shows: its way, what may be done, the check and the history."""

from collections import Counter
from typing import Any

from django.utils.translation import gettext as _

from marketplace.providers.forms import PRICE_LABELS
from marketplace.providers.listings.states import (
    WHY_NEEDED,
    ListingAction,
    ListingState,
    Who,
    actions_of,
)
from marketplace.providers.models import Listing, Verdict
from marketplace.providers.selectors import run_shown
from router.domain.pricing import PRICE_FIELDS

EVENTS_SHOWN = 50
PRIMARY = frozenset(
    {
        ListingAction.SUBMIT,
        ListingAction.BENCHMARK,
        ListingAction.REQUEST_REVIEW,
        ListingAction.APPROVE,
        ListingAction.RESUME,
    }
)
DANGEROUS = frozenset({ListingAction.RETIRE, ListingAction.SUSPEND, ListingAction.CANCEL})
WAY = (
    (ListingState.DRAFT, (ListingState.DRAFT,)),
    (ListingState.CHECKED, (ListingState.CHECKING,)),
    (ListingState.BENCHMARKED, (ListingState.CHECKED, ListingState.BENCHMARKING)),
    (ListingState.REVIEW, (ListingState.BENCHMARKED, ListingState.REVIEW)),
    (ListingState.LIVE, (ListingState.LIVE, ListingState.PAUSED, ListingState.SUSPENDED)),
)
"""The steps to go live, and the states in which each one is current."""


def listing_shown(row: Listing, who: Who | None, act_url: str) -> dict[str, Any]:
    """The context of its page, for one who may act as ``who`` by the page ``act_url``."""
    actions = actions_of(row.state, who) if who else []
    run = run_shown(row)
    results = list(run.results.all()) if run else []
    counts = Counter(result.verdict for result in results)
    return {
        "listing": row,
        "for_staff": who is Who.STAFF,
        "act_url": act_url,
        "actions": [
            {
                "name": action,
                "needs_why": action in WHY_NEEDED,
                "style": "button-primary"
                if action in PRIMARY
                else "button-danger"
                if action in DANGEROUS
                else "",
            }
            for action in actions
            if action is not ListingAction.SUBMIT
        ],
        "may_edit": row.is_draft and who is Who.PROVIDER,
        "way": _way(row),
        "run": run,
        "results": results,
        "counts": {verdict: counts[verdict] for verdict in Verdict.values},
        "points": list(row.benchmark.points.all()) if row.benchmark else [],
        "events": row.events.select_related("by")[:EVENTS_SHOWN],
        "sent_back": row.events.first() if row.is_draft else None,
        "prices": [
            (PRICE_LABELS[name], getattr(row, name)) for name in PRICE_FIELDS if getattr(row, name)
        ],
    }


def _way(row: Listing) -> list[dict[str, Any]]:
    """Draft, check, benchmark, review, live: which are done, and which is current."""
    at = next((i for i, (_goal, states) in enumerate(WAY) if row.state in states), -1)
    return [
        {
            "label": label,
            "is_done": i < at or (i == at and row.state == ListingState.LIVE),
            "is_now": i == at,
        }
        for i, label in enumerate((_("Draft"), _("Check"), _("Benchmark"), _("Review"), _("Live")))
    ]
