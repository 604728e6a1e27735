"""The SQL of an app has one present text: migrations install what its files say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.databases import ROOT, copied, named

MARKETPLACE = ROOT / "marketplace"
FILES = [
    *sorted(MARKETPLACE.glob("*/sql/*.sql")),
    # The ledger settles into the tables of usage.
    *sorted(MARKETPLACE.glob("billing/ledger/*.sql")),
]
FROZEN = {
    "audit/migrations/sql/0002_append_only.sql": "f970f5d3715a4ad2",
    "billing/migrations/sql/0001_baseline.sql": "23f4f6e71b5b6582",
    "billing/migrations/sql/0002_places.sql": "0733d9ff7e0b9378",
    "billing/migrations/sql/0003_price_classes.sql": "1821fbf306e947c0",
    "billing/migrations/sql/0004_seals.sql": "3decc1a29a2703b7",
    "billing/migrations/sql/0005_own_endpoints.sql": "93e2c3fac08290e5",
    "billing/migrations/sql/0006_apps.sql": "b85974e188026c14",
    "billing/migrations/sql/0007_asked.sql": "12cec3b01909874f",
    "billing/migrations/sql/0008_masked.sql": "ff912a33250ac327",
    "billing/migrations/sql/0009_guarded.sql": "e280e361075dc585",
    "billing/migrations/sql/0010_errors.sql": "fdbd340d91f3dcdc",
    "billing/migrations/sql/0011_members_keys.sql": "75e06a4170cbeba5",
    "catalog/migrations/sql/0001_baseline.sql": "ebf461b5ff0b8a93",
    "routing/migrations/sql/0001_baseline.sql": "24c2600419393c69",
    "routing/migrations/sql/0002_responses.sql": "f03dbd633865c63e",
    "support/migrations/sql/0001_baseline.sql": "4d7c83599e040671",
    "usage/migrations/sql/0001_baseline.sql": "fd3564dca9af14cd",
    "usage/migrations/sql/0001_tables.sql": "c209187188e001a2",
    "usage/migrations/sql/0004_own_models.sql": "5630ccee4653c12d",
    "usage/migrations/sql/0006_apps.sql": "9d594f3373a5b7e1",
    "usage/migrations/sql/0011_customers_calls.sql": "6395315794f1f5b6",
}
"""What databases were made with is added to and never changed: SHA-256, its first 16 digits."""

ROUTINES = """
SELECT oid::regprocedure::text FROM pg_proc p
WHERE pronamespace = current_schema()::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
DEFINITIONS = f"""
SELECT 'function ' || p.oid::regprocedure, pg_get_functiondef(p.oid) FROM pg_proc p
WHERE p.prokind = 'f' AND p.oid::regprocedure::text IN ({ROUTINES})
UNION ALL
SELECT 'aggregate ' || aggfnoid::regprocedure, concat_ws(' ', aggtransfn, agginitval)
FROM pg_aggregate WHERE aggfnoid::regprocedure::text IN ({ROUTINES})
UNION ALL
SELECT 'trigger ' || t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
UNION ALL
SELECT 'column ' || c.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'c')
  AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint ' || conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND contype <> 't'
UNION ALL
SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
"""

PATH = "SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);"
EXTEND = "function billing_lease_extend(uuid,double precision)"


def unchanged(path: Path) -> str:
    return path.read_text()


def changed(path: Path) -> str:
    """The file, with another body of one function."""
    return path.read_text().replace("make_interval(secs => p_ttl_s)\n    WHERE", "'1 s'\n    WHERE")


def delta() -> str:
    """That function by itself, as a migration replaces it."""
    text = changed(MARKETPLACE / "billing/ledger/leases.sql")
    (function,) = re.findall(r"CREATE (FUNCTION billing_lease_extend\(.*?\n\$\$;)", text, re.DOTALL)
    return f"CREATE OR REPLACE {function}"


def definitions(connection: psycopg.Connection) -> set[tuple[str, str]]:
    return set(connection.execute(DEFINITIONS).fetchall())  # type: ignore[call-overload]


def differences(
    url: str, *, migration: str = "", text: Callable[[Path], str] = unchanged
) -> set[str]:
    """Names of what differs: after another ``migration``, and as the files make it."""
    with psycopg.connect(url) as connection:
        connection.execute(migration)  # type: ignore[arg-type]
        connection.execute(PATH)
        installed = definitions(connection)
        texts = [text(path) for path in FILES]
        for (routine,) in connection.execute(ROUTINES).fetchall():
            connection.execute(f"DROP ROUTINE IF EXISTS {routine} CASCADE")  # type: ignore[call-overload]
        for kind, name in re.findall(r"^CREATE (TABLE|TYPE) (\w+)", "\n".join(texts), re.MULTILINE):
            connection.execute(SQL(f"DROP {kind} {{}} CASCADE").format(Identifier(name)))  # type: ignore[arg-type]
        for sql in texts:
            connection.execute(sql)  # type: ignore[arg-type]
        found = installed ^ definitions(connection)
        connection.rollback()
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def migrated(postgres_url: str) -> Iterator[str]:
    """URL of a migrated database for the role that migrates."""
    with copied(postgres_url) as url:
        yield named(postgres_url, urlsplit(url).path.removeprefix("/"))


def test_what_migrations_install_is_what_the_files_say(migrated: str) -> None:
    assert differences(migrated) == set()


def test_a_file_is_not_changed_without_a_migration(migrated: str) -> None:
    assert differences(migrated, text=changed) == {EXTEND}


def test_a_migration_does_not_change_what_its_file_does_not_say(migrated: str) -> None:
    assert differences(migrated, migration=PATH + delta()) == {EXTEND}


def test_a_changed_file_and_its_migration_agree(migrated: str) -> None:
    assert differences(migrated, migration=PATH + delta(), text=changed) == set()


def test_a_migration_that_leaves_a_callers_search_path_is_found(migrated: str) -> None:
    assert differences(migrated, migration=delta(), text=changed) == {EXTEND}


def test_what_was_installed_stays_as_it_was() -> None:
    files = sorted(MARKETPLACE.glob("*/migrations/sql/*.sql"))
    digests = {
        str(path.relative_to(MARKETPLACE)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in files
    }
    assert digests == FROZEN, "a change of what is installed is another migration"
