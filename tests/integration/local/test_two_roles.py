"""One's own PostgreSQL, as its page says: two plain roles, neither of them a superuser."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import psycopg
import pytest

from marketplace.operations.backups.archive import (
    DUMP,
    MANIFEST,
    BackupError,
    Manifest,
    backup_restore,
)
from tests.databases import MIGRATE_TIMEOUT_S, ROOT, as_services, make_role, named

pytestmark = pytest.mark.integration


@pytest.fixture
def plain(postgres_url: str) -> Iterator[tuple[str, str]]:
    """URLs of a fresh database for a plain owner, and for the services."""
    name = f"plain_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        make_role(admin)
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")  # type: ignore[arg-type]
        admin.execute(f"GRANT SET ON PARAMETER waypost.ledger TO {name}")  # type: ignore[arg-type]
        admin.execute(f"CREATE DATABASE {name} OWNER {name}")  # type: ignore[arg-type]
        url = named(postgres_url, name)
        where = url.rpartition("@")[2]
        try:
            yield f"postgres://{name}:x@{where}", as_services(url)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
            admin.execute(f"REVOKE ALL ON PARAMETER waypost.ledger FROM {name}")  # type: ignore[arg-type]
            admin.execute(f"DROP ROLE {name}")  # type: ignore[arg-type]


def manage(owner: str, services: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": services, "MIGRATE_DATABASE_URL": owner},
        capture_output=True,
        text=True,
        timeout=MIGRATE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.nightly  # All migrations.
def test_plain_roles_are_enough(plain: tuple[str, str]) -> None:
    # One app by itself, and then the others.
    manage(*plain, "migrate", "accounts", "--no-input", "--verbosity", "0")
    assert "billing.W001" not in manage(*plain, "migrate", "--no-input", "--verbosity", "0")
    assert "billing.W001" not in manage(*plain, "migrate", "--no-input", "--verbosity", "0")
    owner, services = plain
    manage(*plain, "ledger", "verify")
    with (
        psycopg.connect(services, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="billing_transfer"),
    ):
        connection.execute("DELETE FROM billing_transfer")
    # One role for both works, and the consequence is reported.
    assert "owns the books" in manage(owner, owner, "migrate", "--no-input", "--verbosity", "0")


def test_a_plain_owner_restores_nothing_while_the_services_are_connected(
    plain: tuple[str, str], tmp_path: Path
) -> None:
    owner, services = plain
    (tmp_path / DUMP).write_bytes(b"")
    manifest = Manifest(datetime.now(UTC), 0, sha256(b"").hexdigest(), None, None)
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with (
        psycopg.connect(services),
        pytest.raises(BackupError, match=r"others use this database \(waypost_tests\)"),
    ):
        backup_restore(folder=tmp_path, database_url=owner, files=None)
