"""An emulated history, to see and to measure how pages do at size. Nobody called anything."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction
from django.utils import timezone

from marketplace.accounts.models import ApiKey, Membership, Organisation, Role, User
from marketplace.billing.services import credit_grant
from tests.bench.generate.catalog import PREFIX, catalog_generate, is_catalog_generated

SQL = Path(__file__).with_name("history.sql")
EMAIL_DOMAIN = "generated.invalid"
OWNER = f"owner-0@{EMAIL_DOMAIN}"
"""Belongs to the busiest organisation."""
ORGANISATIONS = 50
MEMBERS_EACH = 4
KEYS_EACH = 10
CREDIT_NANO = 10**16
BATCH = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Size:
    """How much to make; the calls lie in the last ``days`` days."""

    rows: int
    models: int
    providers: int
    days: int


def is_generated() -> bool:
    """Whether there is a generated history already."""
    return Organisation.objects.filter(slug__startswith=f"{PREFIX}-").exists()


def has_people() -> bool:
    """Whether somebody real has an account here."""
    return User.objects.exclude(email__endswith=f"@{EMAIL_DOMAIN}").exists()


def history_generate(*, size: Size, progress: Callable[[int], None]) -> None:
    """Make catalog, organisations and calls; ``progress`` gets the number of calls so far.

    Amounts move through the ledger's own functions, so that the books stay provable.
    """
    with transaction.atomic():
        if not is_catalog_generated():
            catalog_generate(models=size.models, providers=size.providers)
        _organisations()
    _calls(size, progress)


def history_vacuum() -> None:
    """What autovacuum would do by and by after so many rows at once. Not inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "VACUUM (ANALYZE) usage_event, usage_rollup, usage_caller_rollup, billing_transfer"
        )


def _organisations() -> None:
    for i in range(ORGANISATIONS):
        organisation = Organisation.objects.create(slug=f"{PREFIX}-{i}", name=f"Generated {i}")
        users = User.objects.bulk_create(
            # No password: nobody signs in as these.
            User(email=f"{'owner' if k == 0 else f'member-{k}'}-{i}@{EMAIL_DOMAIN}", password="!")
            for k in range(MEMBERS_EACH)
        )
        Membership.objects.bulk_create(
            Membership(
                organisation=organisation,
                user=user,
                role=Role.DEVELOPER if k else Role.OWNER,
            )
            for k, user in enumerate(users)
        )
        ApiKey.objects.bulk_create(
            ApiKey(
                organisation=organisation,
                name=f"key {k}",
                digest=f"{PREFIX}-{i}-{k}",
                masked="generated",
                created_by=users[k % len(users)],
                disabled_at=timezone.now(),
            )
            for k in range(KEYS_EACH)
        )
        credit_grant(
            organisation=organisation,
            amount_nano=CREDIT_NANO,
            rule="system: generated history",
            reason="Credit that an emulated history spends.",
            idem_key=f"grant:{organisation.slug}",
        )


def _calls(size: Size, progress: Callable[[int], None]) -> None:
    """Batch by batch, with a wave over each day."""
    until = timezone.now()
    batches = timedelta(days=size.days) // BATCH
    batch_ms = BATCH // timedelta(milliseconds=1)
    from_ms = int(until.timestamp() * 1000) - batches * batch_ms
    made = 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_partitions_make(to_timestamp(%s), %s)", [from_ms / 1000, until]
        )
        cursor.execute(SQL.read_text())
        for batch in range(batches):
            share = (batch + 1) / batches
            wave = 0.04 * math.sin(2 * math.pi * (batch + 1) / 24) * 24 / batches
            wanted = size.rows if batch + 1 == batches else int(size.rows * (share + wave))
            if wanted > made:
                cursor.execute(
                    "SELECT pg_temp.generate(%s, %s, %s)",
                    [wanted - made, from_ms + batch * batch_ms, batch_ms],
                )
                made = wanted
                progress(made)
