"""What can be asked: stretches worth replaying, pools and deployments that can be changed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from django.db.models import QuerySet, Sum
from django.utils import timezone

from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import AIModel, Deployment
from marketplace.catalog.selectors import deployments_live
from marketplace.planning.models import WhatIf
from marketplace.planning.whatif.answer import Answer
from marketplace.shared.jobs.models import JobState
from marketplace.usage.models import Span, UsageRollup

HOUR = timedelta(hours=1)
LOOK_BACK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Stretch:
    """From ``since`` up to ``until``; ``calls`` is None where they were not counted."""

    name: str
    since: datetime
    until: datetime
    calls: int | None = None


def models_recorded() -> list[AIModel]:
    """Models that were called in the last week, by name."""
    since = timezone.now() - LOOK_BACK
    called = UsageRollup.objects.filter(span=Span.DAY, starts_at__gte=since - timedelta(days=1))
    names = called.order_by().values_list("model", flat=True).distinct()
    return list(AIModel.objects.filter(name__in=list(names)).order_by("name"))


def stretches(model: AIModel, now: datetime) -> list[Stretch]:
    """Presets: the busiest hour of yesterday and of the week, the last hour, the last 24."""
    minute = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    today = minute.replace(hour=0, minute=0)
    busiest = [
        ("yesterday", _busiest(model, today - timedelta(days=1), today)),
        ("week", _busiest(model, now - LOOK_BACK, now)),
    ]
    return [
        *(Stretch(name, hour[0], hour[0] + HOUR, hour[1]) for name, hour in busiest if hour),
        Stretch("hour", minute - HOUR, minute),
        Stretch("day", minute - timedelta(days=1), minute),
    ]


def deployments_of(model: AIModel) -> list[Deployment]:
    """What of the fleet a question can change."""
    return list(deployments_live(model))


def profiles_of(model: AIModel) -> QuerySet[Profile]:
    """Profiles that a new pool can be made of, newest first."""
    return (
        Profile.objects.filter(deployment__version__model=model)
        .select_related("deployment__pool", "deployment__provider")
        .order_by("-id")[:50]
    )


def what_ifs() -> QuerySet[WhatIf]:
    """Newest first."""
    return WhatIf.objects.select_related("model", "asked_by")


def answer_kept(row: WhatIf) -> Answer | None:
    """The answer of a question; None while there is none."""
    if row.state != JobState.SUCCEEDED or row.answer is None:
        return None
    return msgspec.convert(row.answer, Answer, str_keys=True)  # As JSON has them.


def _busiest(model: AIModel, since: datetime, until: datetime) -> tuple[datetime, int] | None:
    rows = UsageRollup.objects.filter(
        model=model.name, span=Span.HOUR, starts_at__gte=since, starts_at__lt=until
    )
    hours = rows.order_by().values("starts_at").annotate(total=Sum("calls"))
    best = hours.order_by("-total", "-starts_at").first()
    return (best["starts_at"], best["total"]) if best else None
