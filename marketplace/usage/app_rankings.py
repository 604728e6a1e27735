"""Ranks applications, as calls name them, over the organisations that let theirs be listed."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.usage.models import AppRanking, AppRollup, RankingWindow, Span
from marketplace.usage.turns import turn_wait
from marketplace.usage.windows import Window, window_of

RANKED_MAX = 500
"""How many applications of a window are kept, those with most calls."""
HOURS_KEPT = timedelta(days=8)
"""Older hours are deleted; their days stay."""


@transaction.atomic
def app_rankings_compute() -> int:
    """Rank applications anew in all windows; returns how many were ranked."""
    turn_wait(AppRanking)
    now, ranked = timezone.now(), 0
    AppRanking.objects.all().delete()
    AppRollup.objects.filter(span=Span.HOUR, starts_at__lt=now - HOURS_KEPT).delete()
    for name in RankingWindow:
        rows = _rankings(name, window_of({"range": name}, now), now)
        ranked += len(AppRanking.objects.bulk_create(rows))
    return ranked


def _rankings(name: RankingWindow, window: Window, now: datetime) -> list[AppRanking]:
    listed = Organisation.objects.filter(lists_apps=True).values("pk")
    rows = AppRollup.objects.filter(
        span=window.span, starts_at__gte=window.start, organisation_id__in=listed
    )
    sums: QuerySet[Any, Any] = rows.order_by().values("app", "title")
    found: dict[str, AppRanking] = {}
    most: dict[str, int] = {}
    for row in sums.annotate(sum_calls=Sum("calls"), sum_tokens=Sum("tokens")):
        app = found.setdefault(
            row["app"],
            AppRanking(window=name, app=row["app"], title="", calls=0, tokens=0, computed_at=now),
        )
        app.calls += row["sum_calls"]
        app.tokens += row["sum_tokens"]
        if row["title"] and row["sum_calls"] > most.get(app.app, 0):
            app.title, most[app.app] = row["title"], row["sum_calls"]
    return sorted(found.values(), key=lambda app: (-app.calls, app.app))[:RANKED_MAX]
