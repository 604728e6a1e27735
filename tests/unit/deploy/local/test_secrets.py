"""Secrets that the launcher makes."""

from pathlib import Path

from deploy.local.home import secrets


def test_secrets_are_made_once_and_private(home: Path) -> None:
    first = secrets.load_or_make(home, {})
    assert set(first) == set(secrets.NAMES)
    assert len(set(first.values())) == len(first)
    assert secrets.load_or_make(home, {}) == first
    assert (home / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_secret_of_a_later_version_joins_the_old_ones(home: Path) -> None:
    (home / "secrets.json").write_text('{"DJANGO_SECRET_KEY": "kept"}')
    found = secrets.load_or_make(home, {})
    assert found["DJANGO_SECRET_KEY"] == "kept"
    assert set(found) == set(secrets.NAMES)


def test_a_secret_in_the_environment_wins_and_is_not_stored(home: Path) -> None:
    given = {"DJANGO_SECRET_KEY": "given", "PATH": "/bin"}
    found = secrets.load_or_make(home, given)
    assert found["DJANGO_SECRET_KEY"] == "given"
    assert "PATH" not in found
    assert "given" not in (home / "secrets.json").read_text()
