"""Which workers keep a slot free for a measurement. It ends with the process that measures."""

from contextlib import AbstractContextManager

from django.db import connection

from marketplace.shared.jobs.locks import keys_held

RESERVED_SPACE = 0x5750_5253  # "WPRS"


def reservation_held(worker_id: int) -> AbstractContextManager[bool]:
    """Hold a slot of this worker; gives False where another run does."""
    return keys_held(RESERVED_SPACE, [worker_id])


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
