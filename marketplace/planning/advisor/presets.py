"""The organisation's own calls of the last days as a question's workload."""

from __future__ import annotations

import statistics
from datetime import timedelta

from django.db.models import F, Sum
from django.utils import timezone
from msgspec import Struct

from marketplace.planning.advisor.question import SIZE_CV_MAX
from marketplace.usage.models import Span, UsageEvent, UsageRollup
from marketplace.usage.partitions import id_floor
from router.domain.catalog import OWN_MARK

SPAN = timedelta(days=7)
PRESETS_MAX = 5
SIZES_MAX = 2_000
"""Newest calls whose sizes are read."""
SPREAD_MIN_CALLS = 30
SIZE_CV_DEFAULT = 1.0
RATE_HZ_MIN = 0.001
HOUR_S = 3600.0


class Preset(Struct, frozen=True):
    """A model's busiest hour: its rate, and the mean sizes of the window."""

    model: str
    calls: int
    rate_hz: float
    prompt_tokens: float
    completion_tokens: float
    rows: float
    size_cv: float


def presets_of(organisation_id: int) -> list[Preset]:
    """Of the market's models called most in the last seven days."""
    since = timezone.now() - SPAN
    rows = UsageRollup.objects.filter(
        organisation_id=organisation_id, span=Span.HOUR, starts_at__gte=since
    ).order_by()
    rows = rows.exclude(model__startswith=OWN_MARK)
    sums = rows.values("model").annotate(
        n=Sum("calls"),
        prompts=Sum(F("prompt_tokens") + F("cached_tokens")),
        completions=Sum(F("completion_tokens") + F("reasoning_tokens")),
        items=Sum("rows", default=0),
    )
    found: list[Preset] = []
    for row in sums.order_by("-n")[:PRESETS_MAX]:
        hours = rows.filter(model=row["model"]).values("starts_at").annotate(n=Sum("calls"))
        busiest = max(hour["n"] for hour in hours)
        found.append(
            Preset(
                row["model"],
                row["n"],
                max(busiest / HOUR_S, RATE_HZ_MIN),
                max(row["prompts"] / row["n"], 1.0),
                max(row["completions"] / row["n"], 1.0),
                max(row["items"] / row["n"], 1.0),
                _spread(organisation_id, row["model"]),
            )
        )
    return found


def _spread(organisation_id: int, model: str) -> float:
    """The coefficient of variation of the newest calls' completion tokens, or rows."""
    events = UsageEvent.objects.filter(
        organisation_id=organisation_id,
        model=model,
        request_id__gte=id_floor(timezone.now() - SPAN),
    ).order_by("-request_id")
    sizes = [
        float(completion + reasoning or rows or 1)
        for completion, reasoning, rows in events.values_list(
            "completion_tokens", "reasoning_tokens", "rows"
        )[:SIZES_MAX]
    ]
    if len(sizes) < SPREAD_MIN_CALLS:
        return SIZE_CV_DEFAULT
    return min(statistics.stdev(sizes) / statistics.fmean(sizes), SIZE_CV_MAX)
