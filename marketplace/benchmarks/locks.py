"""Who may measure: one benchmark a pool at a time, over all processes and machines.

Session locks of PostgreSQL on a connection of their own. They end with the process that holds them,
whatever it dies of, so a benchmark that runs by its row and not by its lock is dead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connection

LOCK_SPACE = 0x5750_4248  # "WPBH"


@contextmanager
def pools_held(pool_ids: Sequence[int]) -> Iterator[bool]:
    """Hold these pools; yields whether all of them were free, and holds none if not."""
    own = connection.copy()
    held: list[int] = []
    try:
        with own.cursor() as cursor:
            for pool_id in sorted(set(pool_ids)):
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_SPACE, pool_id])
                if not cursor.fetchone()[0]:
                    break
                held.append(pool_id)
            free = len(held) == len(set(pool_ids))
            if not free:
                _release(cursor, held)
                held = []
        yield free
    finally:
        try:
            if held:
                with own.cursor() as cursor:
                    _release(cursor, held)
        finally:
            own.close()


def pools_free(pool_ids: Sequence[int]) -> bool:
    """Whether nobody measures on any of them now."""
    with pools_held(pool_ids) as free:
        return free


def _release(cursor: object, held: Sequence[int]) -> None:
    for pool_id in held:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_SPACE, pool_id])  # type: ignore[attr-defined]
