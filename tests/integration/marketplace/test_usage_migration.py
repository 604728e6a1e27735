"""Calls that were recorded before there were months are carried over, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from router.contracts.record import record_as_builtins
from tests.integration.marketplace.ledger import record

ROOT = Path(__file__).resolve().parents[3]
AT_MS = 1_769_860_800_000  # 2026-01-31T12:00Z


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    name = f"migration_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]


def migrate(url: str, *target: str) -> None:
    command = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0", *target]
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=600)


@pytest.mark.nightly  # All migrations, one after the other, twice.
def test_earlier_calls_are_carried_over_and_back(empty_database: str) -> None:
    migrate(empty_database, "billing", "0002")
    calls = [record(created_at_ms=AT_MS + day * 86_400_000, total_ms=5.0) for day in (0, 0, 1)]
    body = json.dumps([record_as_builtins(one) for one in calls])
    settle = "SELECT count(*) FROM billing_settle(%s::jsonb)"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO billing_account (kind, currency) VALUES ('commission', 'USD')"
        )
        connection.execute(settle, [body])
    migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:

        def rows(sql: str) -> list[tuple[object, ...]]:
            return connection.execute(sql).fetchall()  # type: ignore[arg-type]

        months = "SELECT tableoid::regclass::text, count(*) FROM usage_event GROUP BY 1 ORDER BY 1"
        assert rows(months) == [("usage_event_2026_01", 2), ("usage_event_2026_02", 1)]
        assert rows("SELECT span, sum(calls) FROM usage_rollup GROUP BY 1 ORDER BY 1") == [
            ("day", 3),
            ("hour", 3),
        ]
        connection.execute(settle, [body])
        assert rows("SELECT count(*) FROM usage_event") == [(3,)]
    migrate(empty_database, "usage", "0006")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        later = json.dumps([record_as_builtins(record(created_at_ms=AT_MS, total_ms=50.0))])
        connection.execute(settle, [later])
    migrate(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        # Filled out of the rollups that there were, with what settled without it.
        found = connection.execute(
            "SELECT sum(calls), sum(cardinality(total_cells)) FROM usage_caller_rollup"
        )
        assert found.fetchall() == [(4, 4)]
    migrate(empty_database, "billing", "0002")
    migrate(empty_database, "usage", "0001")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(settle, [body])
        kind = "SELECT relkind::text FROM pg_class WHERE oid = 'usage_event'::regclass"
        found = connection.execute(f"SELECT count(*), ({kind}) FROM usage_event")  # type: ignore[arg-type]
        assert found.fetchall() == [(4, "r")]
