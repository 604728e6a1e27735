"""Tokens of hosts: what each is for, and until when."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from marketplace.accounts.models import User
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.tokens import worker_token_create, worker_token_end
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.services import own_endpoint_list
from tests.integration.marketplace.endpoints.hosts.reporting import URL, api, register
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


def test_a_token_works_once_and_not_after_its_end(endpoint: OwnEndpoint) -> None:
    row, token = worker_token_create(endpoint=endpoint)
    assert token not in repr(WorkerToken.objects.filter(pk=row.pk).values())
    assert register(token).status_code == 201
    assert register(token).status_code == 403
    row, ended = worker_token_create(endpoint=endpoint)
    worker_token_end(row)
    late = register(ended)
    assert late.status_code == 403
    assert "expired" in late.json()["detail"]
    _, reusable = worker_token_create(endpoint=endpoint, reusable=True)
    names = [register(reusable, "scaled").json()["name"] for _ in range(2)]
    assert names == ["scaled", "scaled"]
    assert Agent.objects.filter(token__reusable=True).count() == 1


def test_hosts_of_two_organisations_may_be_called_alike(
    shop: Shop, endpoint: OwnEndpoint, stranger: User
) -> None:
    rivals = own_endpoint_list(
        organisation=stranger.memberships.get().organisation,
        slug="llama",
        task="chat",
        hosted=True,
        upstream_model="llama",
    )
    _, of_pool = worker_token_create(pool=shop.worker.pool)
    assert register(of_pool).json()["name"] == "gpu"
    told = [register(worker_token_create(endpoint=row)[1]).json() for row in (endpoint, rivals)]
    assert [one["name"] for one in told] == ["gpu", "gpu"]
    again = register(worker_token_create(endpoint=endpoint)[1])
    assert again.json()["name"] == "gpu-2"


@pytest.mark.parametrize(
    ("asked", "status"),
    [({}, 400), ({"endpoint": 0}, 400), ({"endpoint": "x"}, 400), ({"endpoint": 2**62}, 404)],
)
def test_a_token_is_for_one_place(shop: Shop, asked: dict[str, object], status: int) -> None:
    assert api(shop.owner).post("/api/v1/worker-tokens", asked).status_code == status


def test_a_token_is_not_for_two_places(shop: Shop, endpoint: OwnEndpoint) -> None:
    with pytest.raises(ValidationError, match="Name a pool, or the endpoint"):
        worker_token_create(pool=shop.worker.pool, endpoint=endpoint)


def test_an_endpoint_has_a_url_or_hosts(shop: Shop) -> None:
    owner = api(shop.owner)
    asked = {"organisation": "acme", "slug": "x", "task": "chat", "upstream_model": "m"}
    for wrong in ({}, {"hosted": True, "url": URL}, {"hosted": True, "dialect": "anthropic"}):
        assert owner.post("/api/v1/endpoints", asked | wrong).status_code == 400, wrong
    at_url = owner.post("/api/v1/endpoints", {**asked, "url": "https://192.0.78.9"})
    refused = owner.post("/api/v1/worker-tokens", {"endpoint": at_url.json()["id"]})
    assert refused.status_code == 400
    assert "has a URL" in refused.content.decode()
    assert Client().get(f"/endpoints/{at_url.json()['id']}/hosts").status_code == 302
    page = signed_in(shop.owner).get(f"/endpoints/{at_url.json()['id']}/hosts")
    assert page.status_code == 404
