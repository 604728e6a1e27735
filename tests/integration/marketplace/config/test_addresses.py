"""Addresses of pages with a slash at their end too many or missing."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RoutePattern

from marketplace.config.urls.pages import urlpatterns

pytestmark = pytest.mark.usefixtures("kept_shop")


def addresses(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Of every page that is the only one of its kind."""
    for one in patterns:
        if not isinstance(one.pattern, RoutePattern) or "<" in str(one.pattern):
            continue
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, before + str(one.pattern))
        elif before + str(one.pattern) != "/":
            yield before + str(one.pattern)


def flipped(address: str) -> str:
    """With a slash at its end, or without."""
    return address.rstrip("/") if address.endswith("/") else f"{address}/"


def test_a_slash_too_many_or_missing_leads_to_the_page() -> None:
    client = Client()
    led = {
        page: (answer.status_code, answer.headers.get("Location"))
        for page in [*addresses(urlpatterns), "/models/author/slug"]
        if (answer := client.get(flipped(page)))
    }
    assert {page: to for page, to in led.items() if to != (301, page)} == {}
    assert {"/models", "/audit-log", "/login/", "/2fa/"} <= set(led)


@pytest.mark.parametrize(
    ("asked", "to"),
    [
        ("/models/?q=a%2Fb&sort=use", "/models?q=a%2Fb&sort=use"),
        ("/models//", "/models"),
        ("/models/%3Fa/b%20c/", "/models/%3Fa/b%20c"),
    ],
)
def test_what_is_asked_for_goes_along(asked: str, to: str) -> None:
    assert Client().get(asked).headers["Location"] == to


@pytest.mark.parametrize(
    "path",
    ["/nowhere/", "/nowhere", "/models/no/such/", "/models/author/none"],
)
def test_what_is_no_page_stays_unknown(path: str) -> None:
    answer = Client().get(path, follow=True)
    assert answer.status_code == 404
    assert all(url.startswith("/models/no/such") for url, _ in answer.redirect_chain)


@pytest.mark.parametrize("path", ["/api/v1/models/", "/api/v1/nowhere/", "/v1/batches/"])
def test_the_apis_paths_stay_as_they_are(path: str) -> None:
    assert Client().get(path).status_code == 404


def test_what_is_sent_is_not_led_elsewhere() -> None:
    assert Client().post("/models/").status_code == 404
