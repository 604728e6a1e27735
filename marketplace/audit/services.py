"""Deleting what is past its retention."""

from datetime import timedelta

from django.utils import timezone

from marketplace.audit.models import AuditEntry

DAYS_KEPT_MIN = 366
"""PostgreSQL refuses to delete entries of the last 365 days, whoever asks."""


def entries_prune(*, days: int) -> int:
    """Delete entries older than ``days``; returns how many. For the role that owns the tables.

    ``ValueError`` below `DAYS_KEPT_MIN`.
    """
    if days < DAYS_KEPT_MIN:
        raise ValueError(f"entries are kept for {DAYS_KEPT_MIN} days at least, not {days}")
    old = AuditEntry.objects.filter(timestamp__lt=timezone.now() - timedelta(days=days))
    return old._raw_delete(old.db)
