"""Databases of a test's own: copies of one that is migrated once a run, not migrated each.

Tests come to them as the services do: with a role that has rights and owns nothing, so that a right
that is missing fails one. What a test does as a superuser of the books goes through `INTRUDER`.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier, Literal

ROOT = Path(__file__).resolve().parent.parent
MIGRATE_TIMEOUT_S = 600
# Any number that the product's own locks do not have.
LOCK = 7_320_001
ROLE = "waypost_tests"
ROUTERS_ROLE = "waypost_routers"
PASSWORD = "test"

INTRUDER = """
CREATE SCHEMA intruder;
-- With the ledger's own switch on, and its triggers at work.
CREATE FUNCTION intruder.forge(statement text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp SET waypost.ledger = 'on'
AS $$ BEGIN EXECUTE statement; END $$;
-- With all triggers switched off.
CREATE FUNCTION intruder.tamper(statement text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp SET session_replication_role = 'replica'
AS $$ BEGIN EXECUTE statement; END $$;
GRANT USAGE ON SCHEMA intruder TO {role};
"""
"""Inside the transaction of a test, which no other session could look into."""

EMPTY = """
SET session_replication_role = 'replica';
DO $$
DECLARE found regclass;
BEGIN
  FOR found IN
    SELECT oid FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
  LOOP
    EXECUTE format('DELETE FROM %s', found);
  END LOOP;
END $$;
"""
"""Most tables have no rows: TRUNCATE would make new files for all of them, which takes seconds."""


@contextlib.contextmanager
def copied(server_url: str) -> Iterator[str]:
    """Yield the services' URL of a fresh, migrated database on this server; gone afterwards."""
    name = f"copy_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        template = Identifier(_migrated(server_url, admin))
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template))
        admin.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    yield as_services(named(server_url, name))
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _migrated(server_url: str, admin: psycopg.Connection) -> str:
    """The name of the database that is copied; made unless this code's is there."""
    name = f"migrated_{_code_digest()[:16]}"
    known = "SELECT FROM pg_database WHERE datname = %s"
    if admin.execute(known, [name]).fetchone() is None:
        make_role(admin)
        # It has its name once it is whole.
        partial = f"partial_{uuid.uuid4().hex[:8]}"
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(partial)))
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--skip-checks", "-v", "0"],
            cwd=ROOT,
            env={**os.environ, **urls(named(server_url, partial))},
            check=True,
            timeout=MIGRATE_TIMEOUT_S,
        )
        with psycopg.connect(named(server_url, partial), autocommit=True) as owner:
            owner.execute(SQL(INTRUDER).format(role=Identifier(ROLE)))
        rename = SQL("ALTER DATABASE {} RENAME TO {}")
        admin.execute(rename.format(Identifier(partial), Identifier(name)))
    return name


def empty(url: str) -> None:
    """Delete what is in a migrated database, as its superuser, whatever its triggers say."""
    with psycopg.connect(url) as owner:
        owner.execute(EMPTY)


def make_role(admin: psycopg.Connection) -> None:
    """Create the roles of the tests and of their routers, unless they exist."""
    for role in (ROLE, ROUTERS_ROLE):
        if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
            admin.execute(
                SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(role), Literal(PASSWORD))
            )


def urls(owner_url: str) -> dict[str, str]:
    """The environment in which ``manage.py migrate`` makes a database for the services' role."""
    return {"DATABASE_URL": as_services(owner_url), "MIGRATE_DATABASE_URL": owner_url}


def as_services(url: str) -> str:
    """The same database, as the services come to it."""
    return _as(ROLE, url)


def as_routers(url: str) -> str:
    """The same database, as routers come to it, which have a role of their own."""
    return _as(ROUTERS_ROLE, url)


def _as(role: str, url: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{where}"))


def named_parts(url: str) -> dict[str, str]:
    """Of a database and its role, as Django's settings name them."""
    parts = urlsplit(url)
    return {
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
    }


def named(server_url: str, name: str) -> str:
    """Another database of the same server and role."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def _code_digest() -> str:
    """Of what decides on the schema: on a server that outlives the run, others' may be kept."""
    digest = hashlib.sha256((ROOT / "uv.lock").read_bytes())
    for path in sorted((ROOT / "marketplace").rglob("*")):
        if path.suffix in {".py", ".sql"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()
