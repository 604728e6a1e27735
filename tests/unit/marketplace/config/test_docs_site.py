"""How the documentation's files are served: to anybody, at `/docs/`."""

from pathlib import Path

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from whitenoise.middleware import WhiteNoiseMiddleware


@pytest.fixture
def site(tmp_path: Path) -> WhiteNoiseMiddleware:
    """A page, a stylesheet and a picture, by the product's settings for static files."""
    for name in ("docs/index.html", "docs/assets/main.0123abcd.min.css", "docs/images/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    served = WhiteNoiseMiddleware(lambda _: HttpResponse(status=404))
    served.directories = []
    served.add_files(tmp_path)
    return served


def get(site: WhiteNoiseMiddleware, path: str) -> HttpResponse:
    request: HttpRequest = RequestFactory().get(path)
    return site(request)


def test_docs_leads_to_its_first_page(site: WhiteNoiseMiddleware) -> None:
    assert get(site, "/docs").headers["Location"] == "docs/"
    page = get(site, "/docs/")
    assert page.status_code == 200
    assert page.headers["Content-Type"] == 'text/html; charset="utf-8"'


def test_no_page_of_it_may_ask_another_host(site: WhiteNoiseMiddleware) -> None:
    policy = get(site, "/docs/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/docs/assets/main.0123abcd.min.css", "max-age=315360000, public, immutable"),
        ("/docs/images/a.png", "max-age=60, public"),
        ("/docs/", "max-age=60, public"),
    ],
)
def test_what_is_named_by_its_content_is_kept_for_good(
    site: WhiteNoiseMiddleware, path: str, kept: str
) -> None:
    assert get(site, path).headers["Cache-Control"] == kept


def test_what_is_not_there_is_left_to_the_pages(site: WhiteNoiseMiddleware) -> None:
    assert get(site, "/docs/nowhere/").status_code == 404
