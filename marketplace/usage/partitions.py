"""``usage_event`` by month: which ids a time has, the months ahead, and taking old ones out."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from marketplace.usage.models import Detachment

AHEAD = timedelta(days=62)
"""Months are made this long before their first call: two runs of a monthly cron may fail."""


def id_floor(at: datetime) -> UUID:
    """The lowest request id (UUIDv7) of a moment, or of all before 1970.

    A range of ids is what prunes months.
    """
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)


def id_time(request_id: UUID) -> datetime:
    """The moment in a request id, to the millisecond."""
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC)


def partitions_make() -> int:
    """Make sure of the current month and those ahead; returns how many were made."""
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT usage_partitions_make(%s, %s)", [now, now + AHEAD])
        return int(cursor.fetchone()[0])


def partitions_detach(*, before: datetime) -> list[str]:
    """Take the months that are over by ``before`` out of ``usage_event``; returns their tables.

    They stay as tables, to be dumped or dropped. Rollups and transfers are kept; the proof of the
    books no longer asks for these calls.
    """
    # Calls of a month that goes on would have no table to go to.
    before = min(before, timezone.now())
    detached = [name for name in partition_names() if _end_of(name) <= before]
    with transaction.atomic(), connection.cursor() as cursor:
        for name in detached:
            cursor.execute(f'ALTER TABLE usage_event DETACH PARTITION "{name}"')
        if detached:
            Detachment.objects.create(before=_end_of(detached[-1]))
    return detached


def partition_names() -> list[str]:
    """Tables of the months, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'usage_event'::regclass "
            "AND inhrelid <> 'usage_event_default'::regclass ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def _end_of(name: str) -> datetime:
    year, month = map(int, name.removeprefix("usage_event_").split("_"))
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
