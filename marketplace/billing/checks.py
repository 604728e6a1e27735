"""A check of ``check --database default`` and each ``migrate``: do rights protect the ledger?"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections

from marketplace.billing.rights import weaknesses


@register(Tags.database)
def books_are_protected(*, databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if only triggers, not rights, stop the services from writing money directly."""
    found: list[str] = []
    for alias in databases or ():
        with connections[alias].cursor() as cursor:
            found += weaknesses(cursor, settings.SERVICES_ROLE)
    return [
        Warning(
            f"Only triggers protect the books: {words}.",
            hint="See docs/how-to/use-your-own-postgresql-and-valkey.md.",
            id="billing.W001",
        )
        for words in found
    ]
