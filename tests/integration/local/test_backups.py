"""A backup comes back as it was, and routers settle what came after it from their journals."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import Connection

from marketplace.operations.backups import archive
from marketplace.operations.backups.archive import (
    DUMP,
    FILES,
    MANIFEST,
    PARTIAL,
    BackupError,
    backup_make,
    backup_restore,
    manifest_read,
)
from router.contracts.record import UsageRecord, encode_records
from tests.databases import MIGRATE_TIMEOUT_S, ROOT, as_services, copied, named
from tests.integration.marketplace.ledger import record

OPEN = """
WITH organisation AS (
  INSERT INTO accounts_organisation (slug, name, created_at) VALUES ('kept', 'Kept', now())
  RETURNING id
), provider AS (
  INSERT INTO catalog_provider
    (slug, name, description, website, commission_bps, emulated, created_at)
  VALUES ('kept', 'Kept', '', '', 1000, true, now()) RETURNING id
)
INSERT INTO billing_account (kind, currency, organisation_id, provider_id)
SELECT 'customer', 'USD', id, NULL FROM organisation
UNION ALL SELECT 'provider', 'USD', NULL, id FROM provider
RETURNING id, organisation_id
"""
GRANT = """
WITH moved AS (
  SELECT billing_transfer_post(id, %s, 1000000, 'test', 'grant') AS id
  FROM billing_account WHERE kind = 'grants'
)
INSERT INTO billing_systemorder (transfer_id, rule, reason)
SELECT id, 'system: a test', 'Credit.' FROM moved
"""
TAKE = "SELECT * FROM billing_lease_take(%s, 'r1', %s, %s, '{}', 1, 1000, 60)"


@pytest.fixture
def owner_url(postgres_url: str) -> Iterator[str]:
    """Of a migrated database, as the role that owns its tables."""
    with copied(postgres_url) as url:
        yield named(postgres_url, urlsplit(url).path.removeprefix("/"))


class Books:
    """One customer and one provider."""

    def __init__(self, connection: Connection) -> None:
        (self.customer, self.organisation), (self.provider, _) = connection.execute(OPEN).fetchall()
        connection.execute(GRANT, [self.customer])

    def lease(self, connection: Connection, life: str) -> uuid.UUID:
        lease_id = uuid.uuid4()
        connection.execute(TAKE, [lease_id, life, self.customer])
        return lease_id

    def call(self, lease_id: uuid.UUID) -> UsageRecord:
        return record(
            account_id=self.customer,
            organisation_id=self.organisation,
            provider_account_id=self.provider,
            charge_nano=100,
            lease_id=lease_id,
        )


def settle(connection: Connection, *records: UsageRecord) -> int:
    """How many of them were new."""
    body = encode_records(records).decode()
    rows = connection.execute("SELECT applied FROM billing_settle(%s::jsonb)", [body])
    return sum(applied for (applied,) in rows)


def posted(connection: Connection, account: int) -> tuple[int, int]:
    sql = "SELECT posted_nano, held_nano FROM billing_account WHERE id = %s"
    return connection.execute(sql, [account]).fetchall()[0]


def test_a_restored_ledger_balances_once_the_journals_are_settled(
    owner_url: str, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    (files / "batches").mkdir(parents=True)
    (files / "batches" / "in.jsonl").write_text("{}")
    with psycopg.connect(owner_url, autocommit=True) as connection:
        books = Books(connection)
        before = books.call(books.lease(connection, "first life"))
        assert settle(connection, before) == 1
    folder, manifest = backup_make(database_url=owner_url, files=files, into=tmp_path / "kept")
    assert manifest == manifest_read(folder)
    assert manifest.files == 1
    with psycopg.connect(owner_url, autocommit=True) as connection:
        # Of a lease that the backup does not know, and settled: both are gone after the restore.
        after = books.call(books.lease(connection, "first life"))
        assert settle(connection, after) == 1
        (files / "batches" / "in.jsonl").unlink()
        with pytest.raises(BackupError, match="others use this database"):
            backup_restore(folder=folder, database_url=owner_url, files=files)

    backup_restore(folder=folder, database_url=owner_url, files=files)
    assert (files / "batches" / "in.jsonl").read_text() == "{}"
    _manage(owner_url, "migrate", "--no-input", "--verbosity", "0")
    with psycopg.connect(owner_url, autocommit=True) as connection:
        assert posted(connection, books.customer) == (1_000_000 - 100, 1_000 - 100)
        ((alike,),) = connection.execute("SELECT catalog_likeness('lamma', 'llama')").fetchall()
        assert 0 < alike < 1, "the search's extension is back too"
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("UPDATE billing_lease SET expires_at = now() - interval '1 hour'")
        proven = _manage(owner_url, "ledger", "verify", "--from-beginning", "--routers-stopped")
        assert "The ledger balances" in proven, "though its router has yet to close its leases"
        # The router starts again: its earlier life ends, and its journal has both calls.
        connection.execute("SELECT billing_lease_close_earlier('r1', 'second life')")
        assert settle(connection, before, after) == 1
        assert posted(connection, books.customer) == (1_000_000 - 200, 0)
    assert "The ledger balances" in _manage(owner_url, "ledger", "verify", "--from-beginning")


def test_a_dump_that_cannot_be_restored_leaves_the_database_as_it_was(
    owner_url: str, tmp_path: Path
) -> None:
    folder, manifest = backup_make(database_url=owner_url, files=None, into=tmp_path)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        books = Books(connection)
    dump = folder / DUMP
    # Tables are made and most are full by then.
    dump.write_bytes(dump.read_bytes()[: manifest.dump_bytes * 9 // 10])
    with pytest.raises(BackupError, match="is damaged"):
        backup_restore(folder=folder, database_url=owner_url, files=None)
    # It was already damaged when its sum was taken.
    told = msgspec.structs.replace(manifest, dump_sha256=sha256(dump.read_bytes()).hexdigest())
    (folder / MANIFEST).write_bytes(msgspec.json.encode(told))
    with pytest.raises(BackupError, match="nothing is restored: pg_restore: error"):
        backup_restore(folder=folder, database_url=owner_url, files=None)
    with psycopg.connect(owner_url) as connection:
        assert posted(connection, books.customer) == (1_000_000, 0)


class Kept:
    """A backup of one file, and a grant since, which a restore takes back."""

    def __init__(self, owner_url: str, folder: Path) -> None:
        self.files = folder / "files"
        (self.files / "1").mkdir(parents=True)
        self.file = self.files / "1" / "in.jsonl"
        self.file.write_text("{}")
        self._url = owner_url
        self.folder, _ = backup_make(database_url=owner_url, files=self.files, into=folder / "kept")
        with psycopg.connect(owner_url, autocommit=True) as connection:
            Books(connection)

    def restore(self) -> None:
        backup_restore(folder=self.folder, database_url=self._url, files=self.files)

    def is_restored(self) -> bool:
        with psycopg.connect(self._url) as connection:
            sql = "SELECT count(*) FROM billing_account WHERE kind = 'customer'"
            return connection.execute(sql).fetchone() == (0,)


def test_a_restore_that_fails_among_the_files_changes_nothing(
    owner_url: str, tmp_path: Path
) -> None:
    kept = Kept(owner_url, tmp_path)
    kept.file.unlink()
    kept.file.mkdir()
    with pytest.raises(BackupError, match=r"nothing is restored: .*in\.jsonl cannot be written"):
        kept.restore()
    kept.file.rmdir()
    copy = kept.folder / FILES / "1" / "in.jsonl"
    copy.rename(tmp_path / "lost")
    with pytest.raises(BackupError, match=r"nothing is restored: .* 0 files, and its manifest 1"):
        kept.restore()
    assert not kept.is_restored()
    assert [path.name for path in kept.files.iterdir()] == ["1"]
    (tmp_path / "lost").rename(copy)
    kept.restore()
    assert kept.is_restored()
    assert kept.file.read_text() == "{}"
    assert [path.name for path in kept.files.iterdir()] == ["1"]


def test_a_restore_that_fails_after_the_database_says_what_is_there(
    owner_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(owner_url, tmp_path)
    replace = archive._replace

    def replaced(dump: Path, database_url: str) -> None:
        replace(dump, database_url)
        kept.file.unlink()
        kept.file.mkdir()

    monkeypatch.setattr(archive, "_replace", replaced)
    with pytest.raises(BackupError, match="database is the backup's, and so are 0 of its 1 files"):
        kept.restore()
    assert kept.is_restored()


def test_what_a_killed_restore_left_is_in_no_backup(owner_url: str, tmp_path: Path) -> None:
    left = tmp_path / "files" / f"{PARTIAL}restore" / "1"
    left.mkdir(parents=True)
    (left / "in.jsonl").write_text("{}")
    _, manifest = backup_make(
        database_url=owner_url, files=tmp_path / "files", into=tmp_path / "kept"
    )
    assert manifest.files == 0


def test_a_backup_that_fails_leaves_nothing(
    owner_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "program", lambda *words: "/bin/false")
    with pytest.raises(BackupError, match="pg_dump"):
        backup_make(database_url=owner_url, files=None, into=tmp_path)
    assert list(tmp_path.iterdir()) == []


def restored(folder: Path, home: Path, **environment: str) -> str:
    """What the command says that refuses, as in a shell where no setting is."""
    done = subprocess.run(
        [sys.executable, "manage.py", "restore", str(folder), "--home", str(home), "--yes"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=MIGRATE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_the_command_makes_nothing_of_what_it_cannot_restore(
    owner_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert f"{tmp_path / 'nowhere'} is no backup" in restored(tmp_path / "nowhere", home)
    folder, _ = backup_make(database_url=owner_url, files=None, into=tmp_path)
    assert "secrets.json is not there" in restored(folder, home)
    # Nor would the keys of one's own PostgreSQL work.
    assert "secrets.json is not there" in restored(folder, home, DATABASE_URL=owner_url)
    assert not home.exists()


def _manage(owner_url: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": as_services(owner_url),
            "MIGRATE_DATABASE_URL": owner_url,
        },
        capture_output=True,
        text=True,
        timeout=MIGRATE_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
