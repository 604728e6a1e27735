from typing import Any

from django.apps import AppConfig
from django.apps import apps as registry
from django.apps.registry import Apps
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models.signals import post_migrate


def _open_system_accounts(*, apps: Apps = registry, **kwargs: Any) -> None:
    from marketplace.billing.models import AccountKind
    from marketplace.billing.services import system_accounts_open

    if "account" not in apps.all_models["billing"]:
        return  # Only other apps are migrated.
    there = apps.get_model("billing", "Account")._meta.get_field("kind").choices or ()
    if {kind for kind, _ in there} == set(AccountKind.values):
        system_accounts_open()
    # Else this app is not fully migrated.


def _give_rights(*, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    from marketplace.billing.rights import ROUTERS, ROUTERS_ROLE, rights_give

    services, named = settings.SERVICES_ROLE, settings.WAYPOST_ROUTERS_ROLE
    routers = named or ROUTERS_ROLE
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        there = {services: rights_give(cursor, services)}
        if routers != services:
            there[routers] = rights_give(cursor, routers, ROUTERS)
    # Who makes it afterwards would find it without rights.
    if missing := [role for role in (services, named) if role and not there[role]]:
        raise CommandError(
            f"PostgreSQL has no role {missing[0]} to give its rights to: make it, and migrate again"
        )


class BillingConfig(AppConfig):
    name = "marketplace.billing"
    label = "billing"

    def ready(self) -> None:
        # Not in a migration, as `flush` and a new test database need them again.
        post_migrate.connect(_open_system_accounts, sender=self)
        # After each migrate, as new tables need rights too.
        post_migrate.connect(_give_rights, sender=self)
        from marketplace.billing import checks, receivers  # noqa: F401 - register themselves
