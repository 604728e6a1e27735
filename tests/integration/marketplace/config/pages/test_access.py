"""Who sees which page, and what it says to those who do not."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from tests.integration.marketplace.calls import settled_call
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")
MEMBERS_PAGES = [
    *(
        "/keys",
        "/webhooks",
        "/endpoints",
        "/usage",
        "/usage.csv",
        "/billing",
        "/budgets",
        "/earnings",
    )
]
PUBLIC_PAGES = ["/", "/models", "/models/author/slug", "/models/author/slug?tab=api", "/login/"]


@pytest.mark.parametrize("path", PUBLIC_PAGES)
def test_the_catalog_is_public(shop: Shop, path: str) -> None:
    assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", [*MEMBERS_PAGES, "/routes"])
def test_strangers_are_asked_to_sign_in(shop: Shop, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/")


@pytest.mark.parametrize("path", [*PUBLIC_PAGES[:3], *MEMBERS_PAGES])
def test_members_see_every_page_of_theirs(member: Client, path: str) -> None:
    assert member.get(path).status_code == 200


def test_nobody_sees_another_organisations_anything(shop: Shop) -> None:
    request_id = settled_call(shop)
    stranger = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=stranger)
    client = signed_in(stranger)
    assert client.get(f"/usage/{request_id}").status_code == 404
    for path in MEMBERS_PAGES:
        response = client.get(path)
        shown = b"".join(response) if response.streaming else response.content
        assert request_id[:13].encode() not in shown, path
        assert b"Acme" not in shown, path


def test_routes_are_for_staff(member: Client, shop: Shop) -> None:
    assert member.get("/routes").status_code == 403
    shop.owner.is_staff = True
    shop.owner.save()
    assert b"fast-0" in member.get("/routes").content


def test_a_person_of_two_organisations_switches_between_them(shop: Shop, member: Client) -> None:
    request_id = settled_call(shop)
    assert b'id="organisation"' not in member.get("/usage").content
    organisation_create(name="Zeta", slug="zeta", owner=shop.owner)
    assert member.get(f"/usage/{request_id}").status_code == 200
    assert member.post("/organisation/switch", {"slug": "zeta"}).status_code == 302
    assert member.get(f"/usage/{request_id}").status_code == 404
    page = member.get("/usage")
    assert page.context["totals"].calls == 0
    assert '<option value="zeta" selected>Zeta</option>' in page.content.decode()
    organisation_create(name="Far", slug="far", owner=User.objects.create_user("far@example.com"))
    for not_mine in ("far", "nowhere", ""):
        assert member.post("/organisation/switch", {"slug": not_mine}).status_code == 404
    assert member.get("/usage").context["organisation"].slug == "zeta"


def test_an_expired_form_says_what_to_do(shop: Shop) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/login/", {"login": "a@b.c", "password": "x"})
    assert response.status_code == 403
    assert b"This form has expired" in response.content
