"""What no table can keep is the caller's mistake, whichever field it is in; never a 500."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.db import DatabaseError, DataError, InterfaceError, OperationalError
from django.db.models.query import QuerySet
from django.test import Client

from marketplace.accounts.models import User
from marketplace.config.errors.faults import fault
from marketplace.routing.trials.models import RouteTuning
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.api_operations import Operation, operations
from tests.integration.marketplace.shop import open_shop, signed_in

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def acme(kept_database: None) -> Acme:
    return open_acme(open_shop())


@pytest.fixture
def client(acme: Acme) -> Client:
    """Signed in as an owner; a 500 is returned as to a client."""
    return signed_in(acme.shop.owner, raise_request_exception=False)


def key(**values: object) -> str:
    return json.dumps({"organisation": "acme", "name": "k", **values})


@pytest.mark.parametrize(
    "body",
    [
        key(name="a\0b"),
        key(name="\ud800"),
        key(models_allowed=["a\0b"]),
        key(requests_per_minute=2**31),
        key(tokens_per_minute=2**63),
        key(calls_at_once=10**400),
        '{"organisation": "acme", "name": "k", "calls_at_once": 1e999}',
        '{"name": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a\\u0000": 1}',
        b"\xff\xfe",
    ],
    ids=range(10),
)
def test_a_body_that_cannot_be_kept_is_400(client: Client, body: str) -> None:
    answer = client.post("/api/v1/keys", body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == PROBLEM


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
def test_no_slug_has_a_nul(client: Client, method: str) -> None:
    for path in ("/api/v1/providers/a%00b", "/models/a/b%00", "/api/v1/keys?organisation=a%00"):
        assert getattr(client, method)(path).status_code == 400
    assert client.get("/api/v1/keys?organisation=%ff").status_code == 200


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/keys/create", {"name": "a\0b"}),
        ("/organisation/invite", {"email": "a\0@example.com", "role": "viewer"}),
        ("/organisation/switch", {"organisation": "a\0"}),
        ("/login/", {"login": "a\0@example.com", "password": "\0"}),
    ],
)
def test_a_form_with_a_nul_is_400(client: Client, path: str, form: dict[str, str]) -> None:
    assert client.post(path, form).status_code == 400
    plain = client.post(path, urlencode(form), content_type="application/x-www-form-urlencoded")
    assert plain.status_code == 400


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "calls_at_once"])
def test_a_limit_beyond_the_column_is_refused_by_the_form(client: Client, name: str) -> None:
    answer = client.post("/keys/create", {"name": "k", "scopes": ["inference"], name: str(2**31)})
    assert answer.status_code == 422


CHANGES = [operation for operation in operations() if operation.method == "patch"]


@pytest.mark.parametrize("operation", CHANGES, ids=str)
def test_a_change_of_a_field_that_is_not_there_is_400(acme: Acme, operation: Operation) -> None:
    shop = acme.shop
    rows = {name: row for name, (row, _) in acme.rows.items()} | {
        "providers": shop.provider.slug,
        "pools": shop.worker.pool.name,
        "workers": shop.worker.pk,
        "route-tunings": RouteTuning.objects.get_or_create(model=shop.model)[0].pk,
    }
    User.objects.filter(pk=shop.owner.pk).update(is_staff=True, is_superuser=True)
    client = signed_in(User.objects.get(pk=shop.owner.pk))
    changed = {**operation.body({}), "no_such_field": 1}
    path = operation.path_of(rows[operation.resource])
    answer = client.patch(path, changed, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert "no_such_field" in answer.content.decode()


def cursor(text: str) -> str:
    return b64encode(text.encode()).decode()


BROKEN = ["p=abc", "p=a%00b", f"p={10**400}", "p=2026-13-01", "p=-1", "o=-1", "r=x", "p=%ff", "p="]
LISTS = [
    operation.path
    for operation in operations()
    if operation.method == "get" and not operation.is_of_one_row
]


@pytest.mark.parametrize("path", [path for path in LISTS if "{" not in path])
def test_a_cursor_that_none_of_ours_gave_is_no_fault(client: Client, path: str) -> None:
    for text in (*(cursor(item) for item in BROKEN), "%%%", "é"):
        answer = client.get(path, {"cursor": text, "organisation": "acme"})
        assert answer.status_code in {200, 400, 403, 404}, (path, text, answer.content)


@pytest.mark.parametrize(
    "at",
    [
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
        *("0001-01-01", "9999-12-31", "x", "\0"),
    ],
)
@pytest.mark.parametrize("name", ["created_after", "created_before", "since", "until"])
@pytest.mark.parametrize("path", ["/api/v1/usage", "/api/v1/ledger/transfers", "/api/v1/audit-log"])
def test_a_date_at_the_end_of_time_is_no_fault(
    client: Client, path: str, name: str, at: str
) -> None:
    assert client.get(path, {name: at}).status_code in {200, 400, 403}


def test_a_recharge_that_does_not_say_whether_it_is_on_is_400(client: Client) -> None:
    rule = {"organisation": "acme", "threshold_cents": 1, "amount_cents": 500, "cap_cents": 500}
    answer = client.post("/api/v1/auto-recharge", rule, content_type="application/json")
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["enabled"]


def test_a_body_over_the_bound_is_413(client: Client) -> None:
    body = key(name="a" * 3_000_000)
    answer = client.post("/api/v1/keys", body, content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (413, PROBLEM)
    assert client.post("/login/", {"login": "a" * 3_000_000}).status_code == 413


Raise = Callable[..., None]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("path", ["/api/v1/keys", "/keys", "/"])
def test_while_the_database_is_away_it_is_503(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception], path: str
) -> None:
    def away(self: QuerySet) -> None:
        raise error("terminating connection due to administrator command")

    monkeypatch.setattr(QuerySet, "_fetch_all", away)
    answer = client.get(path)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer["Content-Type"].startswith("application/" if "api" in path else "text/html")


def lost() -> DatabaseError:
    """As Django has it from psycopg, which has it from libpq without a SQLSTATE."""
    error = DatabaseError("lost synchronization with server")
    error.__cause__ = psycopg.DatabaseError("lost synchronization with server")
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("the connection is lost"), 503),
        (InterfaceError("the connection is closed"), 503),
        (lost(), 503),
        # Django's own, of a row that is gone.
        (DatabaseError("Save with update_fields did not affect any rows."), 500),
        (KeyError("x"), 500),
        (None, 500),
    ],
)
def test_only_what_a_lost_database_says_is_503(error: Exception | None, status: int) -> None:
    assert fault(error, "/").status == status


def test_a_page_without_a_database_says_how_to_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    def away(self: QuerySet) -> None:
        raise OperationalError("terminating connection due to administrator command")

    settings.WAYPOST_CONTACT = "mailto:help@example.com"
    monkeypatch.setattr(QuerySet, "_fetch_all", away)
    for asked in (client.get, client.post):
        page = asked("/keys", headers={"accept-language": "pt-br"}).content.decode()
        assert "Voltamos em instantes" in page
        assert 'href="mailto:help@example.com"' in page
        assert ('http-equiv="refresh"' in page) == (asked == client.get), "no form is sent twice"


def test_what_the_database_refuses_as_a_value_is_400(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: QuerySet) -> None:
        raise DataError from psycopg.errors.NumericValueOutOfRange()

    monkeypatch.setattr(QuerySet, "_fetch_all", refuse)
    assert client.get("/api/v1/keys").status_code == 400
    assert client.get("/keys").status_code == 400


def test_no_cache_keeps_what_is_private(client: Client) -> None:
    for path in ("/keys", "/", "/api/v1/keys", "/api/v1/models", "/nothing", "/usage.csv"):
        assert "no-store" in client.get(path)["Cache-Control"], path
    stranger = Client()
    for path in ("/keys", "/login/", "/api/v1/models", "/metrics", "/invitations/x"):
        assert "no-store" in stranger.get(path)["Cache-Control"], path
    assert "Cache-Control" not in stranger.get("/")


def test_pages_are_asked_for_their_heads(client: Client) -> None:
    for path in ("/", "/keys", "/usage", "/rankings", "/robots.txt", "/provide", "/organisation"):
        assert client.head(path).status_code == client.get(path).status_code == 200, path
    assert client.get("/favicon.ico")["Location"] == "/static/favicon.svg"


def test_search_engines_find_every_published_model(acme: Acme, settings: Any) -> None:
    sitemap = f"{settings.WAYPOST_PUBLIC_URL}/sitemap.xml"
    assert f"Sitemap: {sitemap}\n" in Client().get("/robots.txt").text
    listed = re.findall(r"<loc>(.*?)</loc>", Client().get("/sitemap.xml").text)
    paths = [url.removeprefix(settings.WAYPOST_PUBLIC_URL) for url in listed]
    assert paths[:3] == ["/", "/models", "/rankings"]
    assert "/models/author/slug" in paths
    for path in paths:
        assert Client().get(path).status_code == 200, path


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:9999/keys", "//localhost/keys", "https://example.com/"]
)
def test_next_stays_on_the_site(acme: Acme, elsewhere: str) -> None:
    shop = acme.shop
    shop.owner.set_password("a-good-password-17")
    shop.owner.save()
    form = {"login": shop.owner.email, "password": "a-good-password-17", "next": elsewhere}
    answer = Client(headers={"host": "127.0.0.1:9999"}).post("/login/", form)
    assert answer.status_code == 302
    assert answer["Location"] == "/models"
