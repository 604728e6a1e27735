"""PostgreSQL and the broker."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from kombu import Connection

from marketplace.billing.rights import weaknesses
from marketplace.operations.doctor.findings import Finding, bad, good, unknown
from marketplace.operations.models import Backup
from marketplace.operations.resealing import Sealed, secrets_look
from marketplace.shared.jobs.brokers import is_rabbitmq, options_to_send

STATEMENT_TIMEOUT_MS = 5_000
BROKER_TIMEOUT_S = 3.0
SECRETS_PAGE = "docs/how-to/rotate-secrets.md"
SKEW_MAX_S = 1.0
"""Routers count on two seconds."""


def is_database_given() -> bool:
    """Whether ``DATABASE_URL`` is set; without it Django puts its dummy there."""
    return bool(settings.DATABASES["default"].get("NAME"))


def database() -> list[Finding]:
    """It answers."""
    if not is_database_given():
        return [unknown("database", "DATABASE_URL is not set")]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, false)", [str(STATEMENT_TIMEOUT_MS)]
        )
        cursor.execute("SELECT current_database(), current_setting('server_version')")
        ((name, version),) = cursor.fetchall()
    return [good("database", f"{name}, PostgreSQL {version}")]


def migrations() -> list[Finding]:
    """The tables are those of this version."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        first = f"{waiting[0][0].app_label}.{waiting[0][0].name}"
        text = f"{len(waiting)} migrations are not applied, {first} first"
        return [bad("migrations", text, "manage.py migrate, as the role that owns the tables")]
    return [good("migrations", "all applied")]


def rights() -> list[Finding]:
    """The services' role cannot change the books."""
    with connection.cursor() as cursor:
        found = weaknesses(cursor, settings.SERVICES_ROLE)
    if found:
        advice = "see docs/how-to/use-your-own-postgresql-and-valkey.md: two roles"
        return [bad("rights", "; ".join(found), advice)]
    return [good("rights", f"{settings.SERVICES_ROLE} cannot change the books by itself")]


def secrets() -> list[Finding]:
    """Sealed secrets are under the newest key, which is not the pepper."""
    if not settings.WAYPOST_SECRETS_KEYS:
        text = "WAYPOST_SECRETS_KEYS is not set: secrets are sealed under the pepper"
        return [bad("secrets", text, f"set it, then rotate: {SECRETS_PAGE}")]
    counts = sum(secrets_look().values(), Counter[Sealed]())
    if unreadable := counts[Sealed.UNREADABLE]:
        text = f"{unreadable} of {counts.total()} sealed secrets cannot be read"
        return [bad("secrets", text, f"put back the key that is missing: {SECRETS_PAGE}")]
    if older := counts[Sealed.OLDER]:
        text = f"{older} of {counts.total()} sealed secrets are under an older key"
        return [bad("secrets", text, "manage.py secrets rotate")]
    return [good("secrets", f"{counts.total()} are sealed under the newest key")]


def backups() -> list[Finding]:
    """A backup was made lately."""
    hours_max = settings.WAYPOST_BACKUP_HOURS_MAX
    if not hours_max:
        return [unknown("backups", "not watched: WAYPOST_BACKUP_HOURS_MAX is 0")]
    last = Backup.objects.first()
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(applied) FROM django_migrations")
        ((installed_at,),) = cursor.fetchall()
    age = timezone.now() - (last.made_at if last else installed_at)
    said = f"the last is of {last.made_at:%Y-%m-%d %H:%M}, in {last.place}" if last else "none yet"
    if age > timedelta(hours=hours_max):
        advice = "manage.py backup, by a timer: docs/how-to/back-up-and-restore.md"
        return [bad("backups", said, advice)]
    return [good("backups", said)]


def clock() -> list[Finding]:
    """The clocks of this machine and of the database agree."""
    before_s = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        ((there_s,),) = cursor.fetchall()
    after_s = time.time()
    skew_s = max(before_s - there_s, there_s - after_s, 0.0)
    if skew_s > SKEW_MAX_S:
        text = f"the database's clock differs by {skew_s:.1f} s"
        return [bad("clock", text, "run chrony or systemd-timesyncd on both machines")]
    return [good("clock", f"within {SKEW_MAX_S:g} s of the database's")]


def broker() -> list[Finding]:
    """It answers."""
    url = settings.BROKER_URL
    if not url:
        return [bad("broker", "BROKER_URL is not set", "set it; without it no job runs")]
    options = options_to_send(url, BROKER_TIMEOUT_S)
    with Connection(url, connect_timeout=BROKER_TIMEOUT_S, transport_options=options) as opened:
        opened.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_S)
        opened.default_channel  # noqa: B018 - Valkey is only asked then
    return [good("broker", "RabbitMQ answers" if is_rabbitmq(url) else "Valkey answers")]
