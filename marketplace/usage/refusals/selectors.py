"""Reads and deletes counts of refused calls."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Sum
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from marketplace.usage.refusals.models import Refusal
from marketplace.usage.windows import Window

KEPT = timedelta(days=400)
SHOWN_MAX = 50
REASONS: dict[str, Promise] = {
    "insufficient_credit": _("No credit was left"),
    "budget_exhausted": _("A budget was used up"),
    "rate_limited": _("The key's limit per minute was reached"),
    "not_allowed": _("The key may not do this"),
    "model_not_found": _("The model does not exist"),
    "invalid_request": _("The request was wrong"),
    "context_length_exceeded": _("The prompt was too long"),
    "no_eligible_worker": _("No worker could serve it"),
    "router_busy": _("The router was overloaded"),
    "ledger_unavailable": _("The ledger could not be reached"),
    "not_ready": _("The router had no catalog yet"),
}
"""Text by error code; other codes are shown as they are."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The number of a model's calls that were refused for one reason."""

    model: str
    code: str
    calls: int

    @property
    def reason(self) -> str | Promise:
        return REASONS.get(self.code, self.code)


def refused_in(organisation_id: int, window: Window, **filters: Any) -> tuple[list[Refused], int]:
    """The most frequent refusals in a window, at most `SHOWN_MAX`, and the total of refused calls.

    Empty if ``outcome`` is given: refused calls have none.
    """
    if filters.pop("outcome", None):
        return [], 0
    rows = (
        Refusal.objects.filter(
            organisation_id=organisation_id,
            starts_at__gte=window.start,
            starts_at__lt=window.until,
            **filters,
        )
        .values("model", "code")
        .annotate(total=Sum("calls"))
        .order_by("-total", "code", "model")
    )
    found = [Refused(row["model"], row["code"], row["total"]) for row in rows]
    return found[:SHOWN_MAX], sum(refused.calls for refused in found)


def refusals_forget() -> int:
    """Delete counts older than `KEPT`; returns how many rows."""
    gone, _by_model = Refusal.objects.filter(starts_at__lt=timezone.now() - KEPT).delete()
    return gone
