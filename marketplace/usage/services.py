"""Services that compute and store figures from recorded calls."""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Max, Q, Sum
from django.utils import timezone

from marketplace.accounts.models import PLATFORM_PREFIX, ApiKey, Organisation
from marketplace.usage.models import (
    DeploymentRollup,
    ModelFigures,
    Span,
    UsageEvent,
    UsageRollup,
)
from marketplace.usage.partitions import id_floor
from marketplace.usage.rollups.deployments import FAULTS, PLACED
from marketplace.usage.rollups.selectors import figures_by
from marketplace.usage.selectors import calls_kept_since
from marketplace.usage.turns import turn_wait
from marketplace.usage.windows import LOOK_BACK, edges_of
from router.domain.catalog import OWN_MARK
from router.domain.outcome import Outcome

FIGURES_WINDOW = timedelta(days=1)
LATELY = timedelta(minutes=15)
"""Calls that settle later than this after their start do not update their key's last use."""
HOURS_KEPT = timedelta(days=8)
"""Older hours of deployments are deleted; their days stay."""
LOOK_BACK_FAR = timedelta(days=3)
"""For calls that routers settle late; used less often."""
BACKFILL = timedelta(days=90)
"""The look-back of the first run."""


@transaction.atomic
def rollups_rebuild(start: datetime, until: datetime) -> int:
    """Rebuild the rollups of these days (UTC), and the sums by deployment from the first one on;
    returns how many calls the days count.

    Settlement waits meanwhile. ``ValueError`` for days whose calls were detached: only their
    rollups are left.
    """
    kept = calls_kept_since()
    if start < kept:
        raise ValueError(f"calls before {kept:%Y-%m-%d} were taken out: their rollups stay")
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_rollup_rebuild(%s, %s)", [start, until])
        counted = int(cursor.fetchone()[0])
    deployment_rollups_compute(look_back=timezone.now() - start)
    return counted


@transaction.atomic
def figures_compute() -> int:
    """Store each public model's latencies over the last day; returns how many models.

    As in ``sql/deployments.sql`` the platform's own calls are left out: they are benchmarks.
    """
    turn_wait(ModelFigures)
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    whole = UsageRollup.objects.filter(span=Span.HOUR, starts_at__gte=hour - FIGURES_WINDOW)
    platform = Organisation.objects.filter(slug__startswith=PLATFORM_PREFIX)
    whole = whole.exclude(model__startswith=OWN_MARK).exclude(
        organisation_id__in=list(platform.values_list("pk", flat=True))
    )
    rows = whole.filter(outcome=Outcome.COMPLETED)
    faults = {
        row["model"]: row
        for row in whole.order_by()
        .values("model")
        .annotate(
            placed=Sum("calls", filter=PLACED, default=0),
            faults=Sum("calls", filter=FAULTS, default=0),
        )
    }
    speeds = rows.values("model").annotate(
        tokens=Sum("completion_tokens") + Sum("reasoning_tokens"),
        busy_ms=Sum("total_ms") - Sum("queue_ms"),
    )
    rates = {row["model"]: 1000 * row["tokens"] / (row["busy_ms"] or 1) for row in speeds}
    figures = figures_by(rows, "model")
    ModelFigures.objects.all().delete()
    ModelFigures.objects.bulk_create(
        ModelFigures(
            model=model,
            calls=found.calls,
            ttft_ms_p50=found.ttft_ms_p50 or 0.0,
            total_ms_p50=found.total_ms_p50 or 0.0,
            total_ms_p99=found.total_ms_p99 or 0.0,
            tokens_per_s=rates[model] or None,
            placed=faults[model]["placed"],
            faults=faults[model]["faults"],
            computed_at=now,
        )
        for model, found in figures.items()
    )
    return len(figures)


def keys_used() -> int:
    """Update the last use of keys from the calls of the last minutes; returns how many keys.

    It is not audited, as nobody made the change. A call shows after the job's next run.
    """
    since = timezone.now() - LATELY
    calls = UsageEvent.objects.filter(request_id__gte=id_floor(since)).exclude(key_id=0)
    latest = dict(
        calls.order_by()
        .values_list("key_id")
        .annotate(Max("created_at"))
        .values_list("key_id", "created_at__max")
    )
    noted = 0
    for key_id, at in sorted(latest.items()):
        older = Q(last_used_at=None) | Q(last_used_at__lt=at)
        noted += ApiKey.objects.filter(older, pk=key_id).update(last_used_at=at)
    return noted


@transaction.atomic
def deployment_rollups_compute(*, look_back: timedelta = LOOK_BACK) -> int:
    """Update the sums by deployment and delete hours older than `HOURS_KEPT`.

    Returns the number of rows written. Goes back to the newest hour that is there if that is longer
    ago: the job may have been down. The first run goes back by `BACKFILL`.
    """
    now = timezone.now()
    # Hours come before days, of which the newest is there when no hour is kept any more.
    sums = DeploymentRollup.objects.order_by("-span", "-starts_at")
    newest = sums.values_list("starts_at", flat=True).first()
    edges = edges_of(now, max(look_back, now - newest if newest else BACKFILL))
    hours, days = max(edges[Span.HOUR], now - HOURS_KEPT), edges[Span.DAY]
    DeploymentRollup.objects.filter(span=Span.HOUR, starts_at__lt=now - HOURS_KEPT).delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_deployment_rollup_refresh(%s, %s)", [hours, days])
        return int(cursor.fetchone()[0])
