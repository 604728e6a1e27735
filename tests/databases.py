"""Databases of a test's own: copies of one that is migrated once a run (6 s), not migrated each."""

from __future__ import annotations

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
from psycopg.sql import SQL, Identifier

ROOT = Path(__file__).resolve().parent.parent
MIGRATE_TIMEOUT_S = 600
# Any number that the product's own locks do not have.
LOCK = 7_320_001


@contextlib.contextmanager
def copied(server_url: str) -> Iterator[str]:
    """Yield the URL of a fresh, migrated database on this server; gone afterwards."""
    name = f"copy_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        template = Identifier(_migrated(server_url, admin))
        admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template))
        admin.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    yield _named(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _migrated(server_url: str, admin: psycopg.Connection) -> str:
    """The name of the database that is copied; made unless this code's is there."""
    name = f"migrated_{_code_digest()[:16]}"
    known = "SELECT FROM pg_database WHERE datname = %s"
    if admin.execute(known, [name]).fetchone() is None:
        # It has its name once it is whole.
        partial = f"partial_{uuid.uuid4().hex[:8]}"
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(partial)))
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": _named(server_url, partial)},
            check=True,
            timeout=MIGRATE_TIMEOUT_S,
        )
        rename = SQL("ALTER DATABASE {} RENAME TO {}")
        admin.execute(rename.format(Identifier(partial), Identifier(name)))
    return name


def _named(server_url: str, name: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def _code_digest() -> str:
    """Of what decides on the schema: on a server that outlives the run, others' may be kept."""
    digest = hashlib.sha256((ROOT / "uv.lock").read_bytes())
    for path in sorted((ROOT / "marketplace").rglob("*")):
        if path.suffix in {".py", ".sql"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()
