"""What the status page shows, from what is recorded; nothing is asked of anybody for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import caches
from django.db.models import Sum
from django.utils import timezone

from marketplace.catalog.models import AIModel
from marketplace.catalog.selectors import models_published
from marketplace.operations.doctor.work import SILENT_AFTER_S
from marketplace.operations.models import Incident, Part
from marketplace.operations.selectors import heartbeat_ages_s
from marketplace.operations.status.watching import SHORTEST, queues_silent
from marketplace.shared.jobs.periodic import Queue
from marketplace.storefront.browse.model_tabs import BARS, Bar
from marketplace.usage.models import DeploymentRollup
from marketplace.usage.rollups.deployments import Measured
from marketplace.usage.windows import Window, window_of

KEY, KEPT_S = "status", 30
MODELS_MAX = 200
INCIDENTS_MAX = 50
LATELY, LONG = "24h", "90d"


@dataclass(frozen=True, slots=True)
class Standing:
    """``works`` is None while nobody looks."""

    part: Part
    works: bool | None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """Of one model: the last day, ninety days, and a bar for each of the last days."""

    model: AIModel
    lately: Measured
    long: Measured
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Status:
    """All of the page. ``incidents`` are the latest first, those that go on too."""

    parts: Sequence[Standing]
    models: Sequence[Availability]
    incidents: Sequence[Incident]
    taken_at: datetime

    @property
    def disturbed(self) -> Sequence[Standing]:
        return [one for one in self.parts if one.works is False]


def status_now() -> Status:
    """At most half a minute old."""
    kept: Status | None = caches["process"].get(KEY)
    if kept is None:
        kept = _status(timezone.now())
        caches["process"].set(KEY, kept, KEPT_S)
    return kept


def _status(now: datetime) -> Status:
    lasting = Incident.objects.exclude(ended_at=None, began_at__gt=now - SHORTEST)
    incidents = list(lasting.order_by("-began_at")[:INCIDENTS_MAX])
    going_on = {row.part: row for row in incidents if row.ended_at is None}
    return Status(_standings(going_on), _availabilities(now), incidents, now)


def _standings(going_on: dict[str, Incident]) -> list[Standing]:
    age_s = heartbeat_ages_s().get(Queue.CONTROL)
    is_watched = age_s is not None and age_s <= SILENT_AFTER_S[Queue.CONTROL]
    found = []
    for part in Part:
        if row := going_on.get(part):
            found.append(Standing(part, works=False, since=row.began_at))
        elif part is Part.JOBS:
            # A stack that has just started for the first time is not disturbed.
            works = None if age_s is None else is_watched and not queues_silent()
            found.append(Standing(part, works=works))
        elif part is Part.PAGES:
            # This page is one of them.
            found.append(Standing(part, works=True))
        else:
            found.append(Standing(part, works=True if is_watched else None))
    return found


def _availabilities(now: datetime) -> list[Availability]:
    lately, long = (window_of({"range": name}, now) for name in (LATELY, LONG))
    days = _measured(long)
    last_day = _totals(_measured(lately))
    totals = _totals(days)
    busiest = sorted(totals, key=lambda name: -totals[name].placed)[:MODELS_MAX]
    published = models_published().filter(name__in=busiest).order_by("display_name", "name")
    return [
        Availability(
            model,
            last_day.get(model.name, Measured()),
            totals[model.name],
            [Bar(at, days.get((model.name, at), Measured())) for at in long.points[-BARS:]],
        )
        for model in published
    ]


def _measured(window: Window) -> dict[tuple[str, datetime], Measured]:
    """Placed and failed calls by model and step. One query."""
    rows = DeploymentRollup.objects.filter(
        span=window.span, starts_at__gte=window.start, starts_at__lt=window.until, placed__gt=0
    )
    sums = rows.order_by().values_list("model", "starts_at")
    summed = sums.annotate(all=Sum("placed"), failed=Sum("faults"))
    return {(model, at): Measured(placed=n, faults=bad) for model, at, n, bad in summed}


def _totals(by_step: dict[tuple[str, datetime], Measured]) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    for (model, _at), measured in by_step.items():
        total = found.setdefault(model, Measured())
        total.placed += measured.placed
        total.faults += measured.faults
    return found
