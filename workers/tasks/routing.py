"""What the clock brings: offers that take effect, answers that need no longer be kept."""

from celery import shared_task
from django.db import connection

from marketplace.routing.services import snapshot_publish


@shared_task
def publish_what_came_due() -> int:
    """Publish if anything differs from the last snapshot; returns the version in force."""
    return snapshot_publish().version


@shared_task
def purge_idempotency_keys() -> int:
    """Delete what is past its day; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT routing_idempotency_purge()")
        return int(cursor.fetchone()[0])
