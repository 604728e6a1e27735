"""Telling other processes that something changed, by PostgreSQL's NOTIFY.

A notice names only what changed: the receiver reads the rows. A notice may be lost, so who
waits also looks now and then.
"""

from django.db import connection

CHANNEL = "waypost_changes"


def changed(topic: str) -> None:
    """Tell of a change when the transaction commits. ``topic`` has less than 8,000 bytes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, topic])
