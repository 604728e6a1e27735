"""What is shown once waits sealed for the page that shows it, and for no other organisation's."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

KEY, SIGNING, TOKEN = r"wp_live_\w{20,}", r"whsec_[\w+/=]{20,}", r"wp_worker_[\w-]{20,}"


def shown(client: Client, page: str, secret: str) -> list[str]:
    return sorted(set(re.findall(secret, client.get(page).content.decode())))


def in_sessions() -> str:
    return " ".join(str(row.get_decoded()) for row in Session.objects.all())


@pytest.mark.parametrize(
    ("made_by", "sent", "page", "secret"),
    [
        ("/keys/create", {"name": "k"}, "/keys", KEY),
        ("/start/key", {}, "/start", KEY),
        ("/webhooks/secret", {"overlap_hours": "0"}, "/webhooks", SIGNING),
        ("/pools/fast/workers", {}, "/pools/fast/workers", TOKEN),
    ],
)
def test_a_secret_waits_sealed_for_its_page(
    shop: Shop, made_by: str, sent: dict[str, str], page: str, secret: str
) -> None:
    client = signed_in(User.objects.create_superuser("root@example.com"))
    organisation_create(name="Root", slug="root", owner=User.objects.get(email="root@example.com"))
    assert client.post(made_by, sent).status_code == 302
    assert not re.search(secret, in_sessions())
    (told,) = shown(client, page, secret)
    assert told not in in_sessions()
    assert shown(client, page, secret) == []


@pytest.mark.parametrize(
    ("made_by", "sent", "page", "secret"),
    [
        ("/keys/create", {"name": "k"}, "/keys", KEY),
        ("/webhooks/secret", {"overlap_hours": "0"}, "/webhooks", SIGNING),
    ],
)
def test_it_is_shown_as_that_of_its_organisation(
    shop: Shop, made_by: str, sent: dict[str, str], page: str, secret: str
) -> None:
    organisation_create(name="Other", slug="other", owner=shop.owner)
    client = signed_in(shop.owner)
    client.post("/organisation/switch", {"slug": "acme"})
    client.post(made_by, sent)
    client.post("/organisation/switch", {"slug": "other"})
    assert shown(client, page, secret) == []
    client.post("/organisation/switch", {"slug": "acme"})
    assert len(shown(client, page, secret)) == 1
