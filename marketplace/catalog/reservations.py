"""Which workers keep a slot free for a measurement.

A session lock of PostgreSQL on a connection of its own: it ends with the process that holds it,
whatever that dies of.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

RESERVED_SPACE = 0x5750_5253  # "WPRS"


@contextmanager
def reservation_held(worker_id: int) -> Iterator[bool]:
    """Hold a slot of this worker; yields False where another run does."""
    own = connection.copy()
    key = [RESERVED_SPACE, worker_id]
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
            is_held = bool(cursor.fetchone()[0])
        try:
            yield is_held
        finally:
            if is_held:
                with own.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
    finally:
        own.close()


def workers_reserved() -> frozenset[int]:
    """The keys of the workers that keep a slot free now."""
    with connection.cursor() as cursor:
        # A lock of two keys: the first is its class.
        cursor.execute(
            "SELECT objid::bigint FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted"
            " AND d.datname = current_database()",
            [RESERVED_SPACE],
        )
        return frozenset(row[0] for row in cursor.fetchall())
