"""A small marketplace on a real PostgreSQL.

Imports of the marketplace stay inside: this file may be read before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import psycopg
import pytest

from tests.databases import as_services, empty, named

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import DjangoDbBlocker

    from tests.integration.marketplace.shop import Shop


def _open() -> Shop:
    from tests.integration.marketplace.shop import open_shop

    return open_shop()


@pytest.fixture
def shop(request: pytest.FixtureRequest, db: None) -> Shop:
    """The module's, where it uses the fixture `kept_shop`; else one of the test's own."""
    kept = "kept_shop" in request.fixturenames
    return request.getfixturevalue("kept_shop") if kept else _open()


@pytest.fixture(scope="module")
def kept_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Lets fixtures of a module fill the database once; what a test adds is taken back after it.

    The module is one transaction: it has no test that needs `transactional_db`.
    """
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def opened_shop(kept_database: None) -> Shop:
    return _open()


@pytest.fixture
def kept_shop(opened_shop: Shop, db: None) -> Shop:
    """As `shop`, opened once for a module."""
    return deepcopy(opened_shop)


@pytest.fixture
def owner(shop: Shop) -> Client:
    """The browser of the shop's owner."""
    from tests.integration.marketplace.shop import signed_in

    return signed_in(shop.owner)


@pytest.fixture
def staff(db: None) -> Client:
    """The browser of one of the platform's staff."""
    from marketplace.accounts.models import User
    from tests.integration.marketplace.shop import signed_in

    return signed_in(User.objects.create_user("staff@example.com", is_staff=True))


@pytest.fixture
def committed_shop(transactional_db: None) -> Shop:
    """As `shop`, seen by every connection."""
    return _open()


@pytest.fixture(scope="session", autouse=True)
def _emptied_after_transactions(django_db_setup: None, postgres_url: str) -> Iterator[None]:
    """What `transactional_db` does after a test: Django's `flush` would take the ledger's TRUNCATE,
    which the ledger refuses, and make every permission anew."""
    from django.db import connection
    from django.test import TransactionTestCase

    from marketplace.billing.services import system_accounts_open

    def empty_again(case: TransactionTestCase) -> None:
        # Whatever state the test left its sessions in.
        connection.close()
        connection.close_pool()
        empty(named(postgres_url, connection.settings_dict["NAME"]))
        system_accounts_open()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_again)
        yield


def _connect_as(who: SplitResult) -> None:
    from django.db import connection

    connection.close()
    connection.close_pool()
    connection.settings_dict |= {"USER": who.username or "", "PASSWORD": who.password or ""}


@pytest.fixture
def by_owner(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, postgres_url: str
) -> Iterator[None]:
    """The test comes to the database as those commands do that make or drop tables.

    Asked for before what fills the database: a module that is marked `django_db` is too late.
    """
    with django_db_blocker.unblock():
        _connect_as(urlsplit(postgres_url))
        yield
        _connect_as(urlsplit(as_services(postgres_url)))


@pytest.fixture
def by_admin(django_db_setup: None, postgres_url: str) -> Iterator[psycopg.Connection]:
    """A superuser's session with the same database; what it does is undone."""
    from django.db import connection

    url = named(postgres_url, connection.settings_dict["NAME"])
    with psycopg.connect(url) as admin:
        yield admin
        admin.rollback()


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """What one test's database had, or its last page's language, is not the next one's."""
    from django.core.cache import caches
    from django.utils import translation

    caches["process"].clear()
    translation.deactivate()
