"""Session locks of PostgreSQL: they end with the process that holds them, whatever it dies of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connection
from django.db.backends.utils import CursorWrapper


@contextmanager
def keys_held(space: int, keys: Sequence[int]) -> Iterator[bool]:
    """Hold these keys of a space (32 bits each) on a connection of their own.

    Yields whether all of them were free; holds none if not.
    """
    own = connection.copy()
    held: list[int] = []
    try:
        with own.cursor() as cursor:
            for key in sorted(set(keys)):
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [space, key])
                if not cursor.fetchone()[0]:
                    break
                held.append(key)
            free = len(held) == len(set(keys))
            if not free:
                _release(cursor, space, held)
                held = []
        yield free
    finally:
        try:
            if held:
                with own.cursor() as cursor:
                    _release(cursor, space, held)
        finally:
            own.close()


def _release(cursor: CursorWrapper, space: int, held: Sequence[int]) -> None:
    for key in held:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [space, key])
