"""The thread's connection to the database, where no request ends that would give it back."""

from django.db import connection


def connection_rest() -> None:
    """Give it back to the pool until it is used again; a transaction keeps it."""
    if not connection.in_atomic_block:
        connection.close()
