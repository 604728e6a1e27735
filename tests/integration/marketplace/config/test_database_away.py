"""Whichever query of a request the database does not answer, the client gets 503."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern

from marketplace.accounts.models import Scope
from marketplace.accounts.services import api_key_create
from marketplace.config.errors.faults import RETRY_AFTER_S
from marketplace.config.urls import pages as urls_pages
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.api_operations import Operation, operations
from tests.integration.marketplace.shop import open_shop, signed_in

QUERIES_MAX = 200


class Away:
    """The database answers so many queries, and no further one."""

    def __init__(self, answers: int, error: type[Exception]) -> None:
        self.left = answers
        self.error = error
        self.struck = False

    def __call__(self, execute: Callable[..., Any], *query: Any) -> Any:
        if self.left <= 0:
            self.struck = True
            raise self.error("the connection is lost")
        self.left -= 1
        return execute(*query)


@pytest.fixture(scope="module")
def acme(kept_database: None) -> Acme:
    made = open_acme(open_shop())
    made.shop.owner.is_staff = made.shop.owner.is_superuser = True
    made.shop.owner.save()
    return made


@pytest.fixture
def person(acme: Acme) -> Client:
    return signed_in(acme.shop.owner, raise_request_exception=False)


def strikes(ask: Callable[[], HttpResponse], step: int = 1) -> Iterator[tuple[int, HttpResponse]]:
    """The answers of one request, with the database gone at each of its queries in turn."""
    for number in range(0, QUERIES_MAX, step):
        error = (OperationalError, InterfaceError)[number // step % 2]
        away = Away(number, error)
        # What a lost connection takes back by itself.
        with transaction.atomic():
            with connection.execute_wrapper(away):
                answer = ask()
            transaction.set_rollback(True)
        if not away.struck:
            return
        yield number, answer
    raise AssertionError("it never ends")


def wrong(ask: Callable[[], HttpResponse]) -> list[tuple[int, int]]:
    return [
        (number, answer.status_code)
        for number, answer in strikes(ask)
        if (answer.status_code, answer.get("Retry-After")) != (503, str(RETRY_AFTER_S))
    ]


PAGES = [
    f"/{pattern.pattern}"
    for pattern in urls_pages.urlpatterns
    if isinstance(pattern, URLPattern) and "<" not in str(pattern.pattern)
]


@pytest.mark.parametrize("path", [*PAGES, "/nowhere", "/admin/", "/admin/billing/account/"])
def test_a_page_whose_database_goes_is_told_so(person: Client, path: str) -> None:
    assert wrong(lambda: person.get(path)) == []


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/login/", {"login": "owner@example.com", "password": "wrong"}),
        ("/login/code/", {"email": "owner@example.com"}),
        ("/password/reset/", {"email": "owner@example.com"}),
        ("/signup/", {"email": "new@example.com", "password1": "a-long-and-odd-one"}),
    ],
)
def test_an_attempt_whose_count_goes_is_told_so(
    acme: Acme, settings: Any, path: str, form: dict[str, str]
) -> None:
    settings.MAIL_ON = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert wrong(lambda: Client(raise_request_exception=False).post(path, form)) == []


READS = [operation for operation in operations() if operation.method == "get"]


@pytest.mark.parametrize("operation", READS, ids=str)
def test_an_operation_whose_database_goes_is_told_so(
    acme: Acme, person: Client, operation: Operation
) -> None:
    row, _ = acme.rows.get(operation.resource, (0, None))
    path = operation.path_of(row)
    for number, answer in strikes(lambda: person.get(path), step=3):
        assert answer.status_code == 503, number
        assert answer["Retry-After"] == str(RETRY_AFTER_S)
        assert answer["Content-Type"] == "application/problem+json"


def test_a_key_whose_database_goes_is_told_so(acme: Acme) -> None:
    _, secret = api_key_create(
        organisation=acme.shop.organisation, name="m", scopes=[Scope.MANAGEMENT]
    )
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})
    body = {"organisation": acme.shop.organisation.slug, "name": "n"}
    assert wrong(lambda: client.get("/api/v1/keys")) == []
    assert wrong(lambda: client.post("/api/v1/keys", body, content_type="application/json")) == []
