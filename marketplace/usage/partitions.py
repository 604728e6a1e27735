"""The monthly partitions of ``usage_event``: id ranges, creating months, detaching old ones."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from marketplace.usage.models import Detachment

AHEAD = timedelta(days=62)
"""Months are created this long ahead, so that two runs of a monthly cron may fail."""


def id_floor(at: datetime) -> UUID:
    """The lowest request id (UUIDv7) of a moment; before 1970 the lowest of all.

    PostgreSQL skips the months outside a range of ids.
    """
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)


def id_time(request_id: UUID) -> datetime:
    """The time in a request id, to the millisecond."""
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC)


def partitions_make() -> int:
    """Create the current month and those ahead if missing; returns how many were created."""
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT usage_partitions_make(%s, %s)", [now, now + AHEAD])
        return int(cursor.fetchone()[0])


def partitions_detach(*, before: datetime) -> list[str]:
    """Detach the months that end by ``before`` from ``usage_event``; returns their tables.

    The tables stay, to be dumped or dropped. Rollups and transfers are kept; the ledger's proof
    no longer checks these calls.
    """
    # The current month must stay: its calls still come.
    before = min(before, timezone.now())
    detached = [name for name in partition_names() if _end_of(name) <= before]
    with transaction.atomic(), connection.cursor() as cursor:
        for name in detached:
            cursor.execute(f'ALTER TABLE usage_event DETACH PARTITION "{name}"')
        if detached:
            Detachment.objects.create(before=_end_of(detached[-1]))
    return detached


def partition_names() -> list[str]:
    """The tables of the months, oldest first."""
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
