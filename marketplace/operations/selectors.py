"""The background work that waits, is lost or is late."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.apps import apps
from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from marketplace.dead_letters.models import DeadLetter
from marketplace.operations.models import Heartbeat
from marketplace.shared.jobs.models import Job, JobState
from marketplace.shared.jobs.periodic import Queue
from marketplace.shared.jobs.services import jobs_lost
from marketplace.webhooks.models import Delivery, DeliveryState

LETTERS_OF = timedelta(days=1)
"""An older dead letter that nobody retried is taken as seen."""


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Of one kind of job. ``waiting_s`` is how long the oldest one waits that never began."""

    kind: str
    queued: int
    running: int
    lost: int
    waiting_s: float


def jobs_counted() -> Iterator[JobCounts]:
    """Every kind of job, by its table."""
    now = timezone.now()
    for model in apps.get_models():
        if not issubclass(model, Job):
            continue
        rows = model._default_manager.all()
        queued = rows.filter(state=JobState.QUEUED).aggregate(n=Count("pk"))["n"]
        new = rows.filter(state=JobState.QUEUED, started_at=None)
        oldest = new.aggregate(at=Min("created_at"))["at"]
        yield JobCounts(
            kind=model._meta.label_lower,
            queued=queued,
            running=rows.filter(state=JobState.RUNNING).count(),
            lost=jobs_lost(model).count(),
            waiting_s=_age_s(oldest, now),
        )


def heartbeat_ages_s() -> dict[Queue, float]:
    """Seconds since each queue's last heartbeat; a queue that never had one is left out."""
    now = timezone.now()
    return {Queue(row.queue): _age_s(row.beat_at, now) for row in Heartbeat.objects.all()}


def database_up_s() -> float:
    """Seconds since the database started or, where that is later, had its first tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - greatest("
            "pg_postmaster_start_time(), (SELECT min(applied) FROM django_migrations)))::float8"
        )
        ((up_s,),) = cursor.fetchall()
    return float(up_s)


def dead_letters_new() -> int:
    """Dead letters of the last day that nobody sent again."""
    since = timezone.now() - LETTERS_OF
    return DeadLetter.objects.filter(kept_at__gt=since, retried_at=None).count()


def webhooks_waiting() -> tuple[int, float]:
    """Deliveries that are due, and for how many seconds the oldest of them has been."""
    now = timezone.now()
    due = Delivery.objects.filter(state=DeliveryState.WAITING, due_at__lte=now)
    found = due.aggregate(n=Count("pk"), oldest=Min("due_at"))
    return found["n"], _age_s(found["oldest"], now)


def _age_s(then: datetime | None, now: datetime) -> float:
    return max((now - then).total_seconds(), 0.0) if then is not None else 0.0
