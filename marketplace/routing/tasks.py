"""Periodic work: offers that take effect, and stored answers and responses that expire."""

from django.db import connection

from marketplace.routing.services import snapshot_publish
from marketplace.shared.jobs.periodic import Queue, every


@every(30.0, queue=Queue.CONTROL)
def publish_what_came_due() -> int:
    """Publish if anything changed since the last snapshot; returns the version in force."""
    return snapshot_publish().version


@every(600.0, queue=Queue.WORK)
def purge_idempotency_keys() -> int:
    """Delete idempotency keys older than a day; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT routing_idempotency_purge()")
        return int(cursor.fetchone()[0])


@every(600.0, queue=Queue.WORK)
def purge_responses() -> int:
    """Delete responses that expired or whose organisation keeps none; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT routing_response_purge()")
        return int(cursor.fetchone()[0])
