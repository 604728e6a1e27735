"""Servers of hosts: which are taken, and what becomes of them as they drain, go silent or end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.agents.models import Agent
from marketplace.audit.models import AuditEntry
from marketplace.catalog import addresses
from marketplace.catalog.models import Worker
from marketplace.endpoints import services, tasks
from marketplace.endpoints.models import OwnEndpoint, OwnWorker
from marketplace.endpoints.services import own_endpoint_remove
from marketplace.endpoints.tasks import probe_own_workers
from router.domain.protocols import OWN_OPENAI
from tests.integration.marketplace.endpoints.hosts.reporting import (
    KEY,
    OTHER_URL,
    READY,
    URL,
    api,
    beat,
    register,
    registered,
    routed,
)
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


def test_a_host_becomes_a_server_of_its_organisations_endpoint_and_of_nothing_else(
    shop: Shop, answers: None
) -> None:
    owner = api(shop.owner)
    asked = {"organisation": "acme", "slug": "llama", "hosted": True, "upstream_model": "llama"}
    made = owner.post("/api/v1/endpoints", {**asked, "task": "chat", "key": KEY})
    assert made.status_code == 201, made.content
    assert (made.json()["hosted"], made.json()["url"]) == (True, "")
    assert routed() == []
    pk = made.json()["id"]
    token = owner.post("/api/v1/worker-tokens", {"endpoint": pk})
    assert (token.status_code, token.json()["pool"], token.json()["endpoint"]) == (201, None, pk)
    told = register(token.json()["token"]).json()
    assert (told["name"], told["pool"]) == ("gpu", "~acme/llama")
    agent = APIClient()
    agent.credentials(HTTP_AUTHORIZATION=f"Bearer {told['credential']}")
    (word,) = beat(agent, READY).json()["workers"]
    assert (word["worker_id"], word["routable"]) == (f"~{pk}.gpu-a", False)
    assert probe_own_workers() == [f"~{pk}.gpu-a"]
    assert beat(agent, READY).json()["workers"][0]["routable"]
    (worker,) = routed()
    assert (worker.pool, worker.url, worker.slots) == (f"~{pk}", URL, 64)
    assert (worker.protocol, worker.healthy) == (OWN_OPENAI, True)
    assert worker.sealed_key == OwnEndpoint.objects.get().sealed_key != ""
    beat(agent, {**READY, "slots": 8, "url": f"{URL}/gpu/v1"})
    (worker,) = routed()
    assert (worker.slots, worker.url) == (8, f"{URL}/gpu")
    (known,) = owner.get("/api/v1/agents").json()["results"]
    assert (known["name"], known["pool"], known["endpoint"]) == ("gpu", None, pk)
    assert known["workers"][0]["worker_id"] == f"~{pk}.gpu-a"
    # The market has no row of it.
    assert set(Worker.objects.values_list("worker_id", flat=True)) == {"fast-0"}
    whose = AuditEntry.objects.filter(organisation_id=shop.organisation.pk)
    audited = set(whose.values_list("content_type__model", flat=True))
    assert {"agent", "workertoken", "ownworker", "ownendpoint"} <= audited


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"url": "https://10.0.0.5:8000"}, "internal address"),
        ({"url": "https://169.254.169.254"}, "--advertise"),
        ({"url": "http://192.0.78.9:8000"}, "It begins with https://"),
        ({"url": "grpc://192.0.78.9:8001"}, "It begins with https://"),
        ({"protocol": "oip"}, "choose another engine"),
        ({"gang": "big", "gang_size": 2}, "no gangs"),
    ],
)
def test_what_no_server_of_a_host_may_be_is_refused(
    endpoint: OwnEndpoint, more: dict[str, object], said: str
) -> None:
    agent = registered(endpoint)
    answer = beat(agent, {**READY, **more})
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not OwnWorker.objects.exists()
    assert beat(agent, READY).status_code == 200
    assert beat(agent, {**READY, **more}).status_code == 400
    assert OwnWorker.objects.get().url == URL


def test_an_operator_may_let_hosts_be_inside(endpoint: OwnEndpoint, networks: Any) -> None:
    networks.WAYPOST_ENDPOINT_NETWORKS = ["10.0.0.0/8"]
    assert beat(registered(endpoint), {**READY, "url": "http://10.0.0.5:1"}).status_code == 200


def test_a_name_that_nobody_knows_yet_ends_no_agent(endpoint: OwnEndpoint) -> None:
    unknown = addresses.HostUnknown("the name 'gpu.example' is not known")
    with mock.patch.object(services, "resolve_now", side_effect=unknown):
        answer = beat(registered(endpoint), {**READY, "url": "https://gpu.example"})
    assert answer.status_code == 200


def test_an_endpoint_has_servers_up_to_a_limit(
    endpoint: OwnEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WORKERS_MAX", 1)
    agent = registered(endpoint)
    assert beat(agent, READY).status_code == 200
    answer = beat(agent, READY, {**READY, "name": "b"})
    assert answer.status_code == 400
    assert "At most 1 servers" in answer.content.decode()
    # One that drains makes room for the next version.
    assert beat(agent, {**READY, "state": "draining"}).status_code == 200
    answer = beat(agent, {**READY, "state": "draining"}, {**READY, "name": "b"})
    assert answer.status_code == 200


def test_a_server_of_another_model_gets_no_calls(endpoint: OwnEndpoint, answers: None) -> None:
    agent = registered(endpoint)
    beat(agent, {**READY, "served_model": "other"})
    probe_own_workers()
    (word,) = beat(agent, {**READY, "served_model": "other"}).json()["workers"]
    assert not word["routable"]
    assert word["fault"] == "it serves 'other', and its endpoint calls 'llama'"
    beat(agent, READY)
    probe_own_workers()
    assert beat(agent, READY).json()["workers"][0]["routable"]


def test_a_host_drains_comes_back_and_is_forgotten(endpoint: OwnEndpoint, answers: None) -> None:
    agent = registered(endpoint)
    beat(agent, READY)
    probe_own_workers()
    for said in ({**READY, "state": "draining"}, None):
        beat(agent, *([said] if said else []))
        assert [worker.draining for worker in routed()] == [True]
        beat(agent, READY)
        assert [worker.draining for worker in routed()] == [False]
    beat(agent)
    OwnWorker.objects.update(reported_at=timezone.now() - timedelta(days=1))
    beat(registered(endpoint, "other"), {**READY, "url": OTHER_URL})
    assert [worker.id for worker in routed()] == [f"{endpoint.place}.other-a"]


def test_a_host_that_goes_silent_leaves_routing_and_returns(
    endpoint: OwnEndpoint, answers: None
) -> None:
    agent = registered(endpoint)
    beat(agent, READY)
    probe_own_workers()
    long_ago = timezone.now() - timedelta(minutes=1)
    OwnWorker.objects.update(reported_at=long_ago, reports_since=long_ago)
    assert probe_own_workers() == []
    assert probe_own_workers() == [f"{endpoint.place}.gpu-a"], "the second round in a row counts"
    assert [worker.healthy for worker in routed()] == [False]
    assert "last heard 60 s ago" in OwnWorker.objects.get().health_error
    beat(agent, READY)
    probe_own_workers()
    assert [worker.healthy for worker in routed()] == [True]


def test_a_server_that_asks_for_a_key_is_up(endpoint: OwnEndpoint) -> None:
    assert [tasks.is_up(status) for status in (200, 401, 403, 404, 500)] == [True] * 3 + [False] * 2


def test_the_prober_calls_no_address_that_routers_would_not(endpoint: OwnEndpoint) -> None:
    beat(registered(endpoint), READY)
    OwnWorker.objects.update(url="https://127.0.0.1:9")
    probe_own_workers()
    assert "internal address" in OwnWorker.objects.get().health_error


def test_who_is_revoked_or_whose_endpoint_is_gone_reports_no_more(
    shop: Shop, endpoint: OwnEndpoint, answers: None
) -> None:
    first, second = registered(endpoint, "one"), registered(endpoint, "two")
    beat(first, READY)
    beat(second, {**READY, "url": OTHER_URL})
    revoked = Agent.objects.get(name__endswith=".one")
    assert api(shop.owner).delete(f"/api/v1/agents/{revoked.pk}").status_code == 204
    assert beat(first, READY).status_code == 401
    draining = {worker.id: worker.draining for worker in routed()}
    assert draining == {f"{endpoint.place}.one-a": True, f"{endpoint.place}.two-a": False}
    own_endpoint_remove(endpoint=endpoint)
    assert beat(second, READY).status_code == 401
    assert routed() == []
    assert not Agent.objects.exists()
