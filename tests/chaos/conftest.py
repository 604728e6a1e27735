"""A database that chaos tests may kill; it runs again when the next test begins."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.chaos.market import Market, market
from tests.chaos.processes import Database, database_of_its_own

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker


@pytest.fixture(scope="session", autouse=True)
def _ledgers_may_be_read(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """By `verify_ledger`, in databases that are not Django's test database."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def mortal_database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="waypost-test-") as folder:
        home = Path(folder)
        # PostgreSQL runs as another user when the tests run as root.
        home.chmod(0o755)
        with database_of_its_own(home) as database:
            yield database


@pytest.fixture
def shop(mortal_database: Database, tmp_path: Path) -> Iterator[Market]:
    """A market without routers and workers, whose customer has plenty of credit."""
    with market(tmp_path, mortal_database.back()) as made:
        yield made
