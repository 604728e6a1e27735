"""Which application a call is of, and how many of them a router tells apart."""

import pytest

from router.domain.request import NO_APP, App
from router.ingress.attribution import APPS_MAX, DAY_MS, HOST_MAX, TITLE_MAX, Attribution, app_of


@pytest.mark.parametrize(
    ("referer", "host"),
    [
        (b"https://App.Example.com/chat/7?token=secret#x", "app.example.com"),
        (b"http://app.example:8080", "app.example"),
        (b"https://app.example?x", "app.example"),
        (b"http://localhost:3000", ""),
        (b"http://10.0.0.7/", ""),
        (b"https://user:secret@app.example/", ""),
        (b"https://app_x.example/<script>", ""),
        (b"app.example", ""),
        (b"https://" + b"a" * HOST_MAX + b".example", ""),
        (b"", ""),
    ],
)
def test_only_a_public_host_name_is_kept(referer: bytes, host: str) -> None:
    assert app_of(referer, b"").host == host


def test_a_title_is_one_short_line_of_text() -> None:
    title = "  Ação\u202e\t\r one ".encode() + b"\xff" + b"x" * 90
    shown = app_of(b"https://a.example", title).title
    assert shown.startswith("Ação one \ufffdx")
    assert len(shown) == TITLE_MAX


def test_an_organisation_has_so_many_applications_a_day() -> None:
    attribution = Attribution()

    def called(number: int, organisation: int = 1, day: int = 0) -> App:
        referer = f"https://a{number}.example".encode()
        return attribution.app_of(organisation, day * DAY_MS, referer, b"")

    for number in range(APPS_MAX):
        assert called(number).host
    assert called(APPS_MAX) is NO_APP
    assert called(0).host, "a known one goes on"
    assert called(APPS_MAX, organisation=2).host, "the bound is each organisation's own"
    assert called(APPS_MAX, day=1).host, "and a day's"
