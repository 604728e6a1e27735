"""One at a time: jobs that delete rows and make them anew."""

from django.db import connection
from django.db.models import Model


def turn_wait(model: type[Model]) -> None:
    """Wait until no other transaction makes the rows of this model anew, and keep others waiting.

    Call it first in the transaction: what the one before it committed is then seen.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [model._meta.db_table])
