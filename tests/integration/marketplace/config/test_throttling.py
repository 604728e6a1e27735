"""How much one caller may write by the management API."""

from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from marketplace.accounts.models import Membership, Role, Scope, User
from marketplace.accounts.services import api_key_create
from tests.integration.marketplace.shop import Shop

KEYS = "/api/v1/keys"
BODY = {"organisation": "acme", "name": "one"}


@pytest.fixture(autouse=True)
def _two_a_minute(settings: Any, db: None) -> None:
    settings.WAYPOST_API_WRITES_PER_MINUTE = 2
    cache.clear()


def of(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def by(key: str) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {key}"})


def test_writes_beyond_it_are_refused_for_a_while(shop: Shop) -> None:
    client = of(shop.owner)
    assert [client.post(KEYS, BODY).status_code for _ in range(3)] == [201, 201, 429]
    refused = client.post(KEYS, BODY)
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert refused["Content-Type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["status"], problem["title"]) == (429, "Too Many Requests")
    assert problem["instance"] == KEYS
    assert "Expected available in" in problem["detail"]
    assert shop.organisation.api_keys.count() == 2


def test_reads_are_as_they_were(shop: Shop) -> None:
    client = of(shop.owner)
    assert {client.get(KEYS).status_code for _ in range(5)} == {200}
    assert client.post(KEYS, BODY).status_code == 201


def test_each_person_and_each_organisation_has_its_own(shop: Shop) -> None:
    admin = User.objects.create_user("admin@example.com")
    Membership.objects.create(organisation=shop.organisation, user=admin, role=Role.ADMIN)
    owners = of(shop.owner)
    assert [owners.post(KEYS, BODY).status_code for _ in range(3)] == [201, 201, 429]
    assert of(admin).post(KEYS, BODY).status_code == 201
    one, other = (
        api_key_create(
            organisation=shop.organisation, name=name, scopes=[Scope.MANAGEMENT, Scope.INFERENCE]
        )[1]
        for name in ("one", "other")
    )
    # A second key is no second allowance.
    assert [by(key).post(KEYS, BODY).status_code for key in (one, other, one)] == [201, 201, 429]


def test_jobs_of_models_are_not_counted(shop: Shop) -> None:
    key = api_key_create(organisation=shop.organisation, name="calls")[1]
    assert {by(key).post("/v1/batches", {}).status_code for _ in range(4)} == {422}
