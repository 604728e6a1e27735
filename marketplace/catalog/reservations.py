"""Slots that workers keep free for a measurement. A reservation ends with its process."""

from contextlib import AbstractContextManager

from django.db import connection

from marketplace.shared.jobs.locks import key_held

RESERVED_SPACE = 0x5750_5253  # "WPRS"


def reservation_held(worker_id: int) -> AbstractContextManager[bool]:
    """Reserve a slot of this worker; gives False if another run has it."""
    return key_held(RESERVED_SPACE, worker_id)


def workers_reserved() -> frozenset[int]:
    """The keys of the workers that keep a slot free now."""
    with connection.cursor() as cursor:
        # objsubid 2 marks a lock of two keys; classid is the first.
        cursor.execute(
            "SELECT objid::bigint FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted"
            " AND d.datname = current_database()",
            [RESERVED_SPACE],
        )
        return frozenset(row[0] for row in cursor.fetchall())
