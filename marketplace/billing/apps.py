from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _open_system_accounts(**kwargs: Any) -> None:
    from marketplace.billing.services import system_accounts_open

    system_accounts_open()


class BillingConfig(AppConfig):
    name = "marketplace.billing"
    label = "billing"

    def ready(self) -> None:
        # Not in a migration: `flush` and a fresh test database need them again.
        post_migrate.connect(_open_system_accounts, sender=self)
