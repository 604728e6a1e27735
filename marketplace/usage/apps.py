from typing import Any

from django.apps import AppConfig
from django.db import connection
from django.db.models.signals import post_migrate


def _make_partitions(**kwargs: Any) -> None:
    from marketplace.usage.partitions import partitions_make

    with connection.cursor() as cursor:
        # The function is missing when only other apps were migrated.
        cursor.execute("SELECT to_regproc('usage_partitions_make') IS NOT NULL")
        (is_partitioned,) = cursor.fetchone()
    if is_partitioned:
        partitions_make()


class UsageConfig(AppConfig):
    name = "marketplace.usage"
    label = "usage"

    def ready(self) -> None:
        post_migrate.connect(_make_partitions, sender=self)
        from marketplace.usage import receivers  # noqa: F401 - registers itself
