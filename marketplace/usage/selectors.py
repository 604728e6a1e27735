"""Reading calls. Lists page by keyset, never by offset or count."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Max, Q, QuerySet
from django.utils.translation import ngettext

from marketplace.accounts.models import Organisation
from marketplace.usage.models import Detachment, UsageEvent, UsageRollup
from marketplace.usage.partitions import id_floor, id_time
from marketplace.usage.rollups.selectors import hours_called
from marketplace.usage.windows import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHUNK = 2_000


def calls_kept_since() -> datetime:
    """Calls from this moment on are in ``usage_event``; earlier ones may have been taken out."""
    return Detachment.objects.aggregate(at=Max("before"))["at"] or EPOCH


def usage_of(organisations: QuerySet[Organisation]) -> QuerySet[UsageEvent]:
    """Calls of these organisations, newest first."""
    # A list of ids, not a subquery: the planner then knows how few they are.
    ids = list(organisations.order_by().values_list("pk", flat=True))
    return UsageEvent.objects.filter(organisation_id__in=ids)


def calls_page(
    organisation_id: int,
    window: Window,
    *,
    before: UUID | None = None,
    count: int,
    **filters: Any,
) -> tuple[Sequence[UsageEvent], UUID | None]:
    """The newest calls older than ``before``, and the ``before`` of the next page, if any.

    Attempts and candidates are deferred.

    Rollups tell which hours have such calls, so that only those are scanned, however rare they
    are. Two queries.
    """
    until = id_floor(window.until)
    until = min(until, before) if before else until
    this_hour = id_time(until).replace(minute=0, second=0, microsecond=0)
    rollups = UsageRollup.objects.filter(
        organisation_id=organisation_id, starts_at__gte=window.start, **filters
    )
    hours = [this_hour, *hours_called(rollups, before=this_hour, count=count + 1)]
    calls = UsageEvent.objects.filter(ids_within(hours), organisation_id=organisation_id, **filters)
    calls = calls.filter(request_id__gte=id_floor(window.start), request_id__lt=until)
    rows = list(calls.defer("attempts", "candidates").order_by("-request_id")[: count + 1])
    return rows[:count], rows[count - 1].request_id if len(rows) > count else None


def calls_in(
    organisation_id: int, window: Window, fields: Sequence[str], **filters: Any
) -> Iterator[tuple[Any, ...]]:
    """Every call in a window, newest first, as tuples of ``fields``; a query for each chunk."""
    calls = UsageEvent.objects.filter(
        organisation_id=organisation_id, request_id__gte=id_floor(window.start), **filters
    ).order_by("-request_id")
    before = id_floor(window.until)
    while chunk := list(
        calls.filter(request_id__lt=before).values_list("request_id", *fields)[:CHUNK]
    ):
        yield from (row[1:] for row in chunk)
        before = chunk[-1][0]


def calls_lately(**filters: Any) -> int:
    """How many such calls began in the last hour: an estimate of what a change now affects."""
    since = id_floor(datetime.now(UTC) - HOUR)
    return UsageEvent.objects.filter(request_id__gte=since, **filters).count()


def calls_lately_text(calls: int) -> str:
    """The number of calls in the last hour as text."""
    return ngettext("%(n)s call in the last hour.", "%(n)s calls in the last hour.", calls) % {
        "n": calls
    }


def ids_within(hours: Sequence[datetime]) -> Q:
    """A condition on request ids of these hours (newest first); adjacent hours become one range."""
    ranges: list[tuple[datetime, datetime]] = []
    for hour in hours:
        if ranges and ranges[-1][0] == hour + HOUR:
            ranges[-1] = (hour, ranges[-1][1])
        else:
            ranges.append((hour, hour + HOUR))
    within = Q()
    for start, end in ranges:
        within |= Q(request_id__gte=id_floor(start), request_id__lt=id_floor(end))
    return within
