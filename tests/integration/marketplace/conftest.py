"""A small marketplace on a real PostgreSQL.

Imports of the marketplace stay inside: this file may be read before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from tests.integration.marketplace.shop import Shop


def _open() -> Shop:
    from tests.integration.marketplace.shop import open_shop

    return open_shop()


@pytest.fixture
def shop(db: None) -> Shop:
    return _open()


@pytest.fixture(scope="module")
def kept_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Lets fixtures of a module fill the database once; what a test adds is taken back after it.

    The module is one transaction: it has no test that needs `transactional_db`.
    """
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def committed_shop(transactional_db: None) -> Iterator[Shop]:
    """As `shop`, seen by every connection."""
    yield _open()
    from django.db import connection

    # pytest-django empties the tables with TRUNCATE, which the ledger refuses: only here, only
    # on this connection, its triggers stand aside.
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")


@pytest.fixture(autouse=True)
def _triggers_back(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "transactional_db" in request.fixturenames:
        from django.db import connection

        # The session goes with it: the pool would hand it on with its triggers still off.
        connection.close()
        connection.close_pool()


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    """What one test's database had is not kept for the next one's."""
    from django.core.cache import caches

    caches["process"].clear()
