"""Session locks of PostgreSQL: they end with the process that holds them, whatever it dies of."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def key_held(space: int, key: int) -> Iterator[bool]:
    """Hold a key of a space (32 bits each) on its own connection; False where it is taken."""
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [space, key])
            is_held = cursor.fetchone()[0]
        try:
            yield is_held
        finally:
            if is_held:
                with own.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [space, key])
    finally:
        own.close()
