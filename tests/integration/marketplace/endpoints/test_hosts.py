"""Endpoints on an organisation's own hosts: tokens, reports, health, and what others see."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import Any
from unittest import mock

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set, organisation_create
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.tokens import worker_token_create, worker_token_end
from marketplace.audit.models import AuditEntry
from marketplace.catalog import addresses
from marketplace.catalog.models import Worker
from marketplace.catalog.services import HealthReading
from marketplace.endpoints import services, tasks
from marketplace.endpoints.models import OwnEndpoint, OwnWorker
from marketplace.endpoints.services import own_endpoint_list, own_endpoint_remove
from marketplace.endpoints.tasks import probe_own_workers
from marketplace.routing.models import SnapshotRow
from router.contracts.snapshot import decode_snapshot
from router.domain.catalog import Worker as RoutedWorker
from router.domain.protocols import OWN_OPENAI
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db

KEY = "sk-of-the-hosts-0123456789"
URL, OTHER_URL = "https://192.0.78.9:8000", "https://192.0.78.9:8010"
HOST = {
    "hardware": [{"name": "NVIDIA H200", "memory_mib": 143_771, "driver": "570.86"}],
    "fingerprint": "ab" * 32,
    "version": "1",
}
READY = {
    "name": "a",
    "state": "ready",
    "url": URL,
    "protocol": "openai",
    "slots": 64,
    "engine": "vllm",
    "engine_version": "0.11.0",
    "served_model": "llama",
}


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def networks(settings: Any) -> Any:
    settings.WAYPOST_ENDPOINT_NETWORKS = []
    return settings


@pytest.fixture
def endpoint(shop: Shop) -> OwnEndpoint:
    return own_endpoint_list(
        organisation=shop.organisation,
        slug="llama",
        task="chat",
        hosted=True,
        key=KEY,
        upstream_model="llama",
        stands_for=shop.model,
    )


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server answers the prober."""

    async def up(servers: list[OwnWorker], *_: object) -> list[HealthReading]:
        return [HealthReading(server.pk) for server in servers]

    monkeypatch.setattr(tasks, "probe", up)


@pytest.fixture
def stranger() -> User:
    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Rival", slug="rival", owner=user)
    return user


def api(user: User | None = None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def register(token: str, name: str = "gpu") -> Any:
    return api().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})


def registered(endpoint: OwnEndpoint, name: str = "gpu") -> APIClient:
    """A client that calls as a new agent does."""
    answer = register(worker_token_create(endpoint=endpoint)[1], name)
    assert answer.status_code == 201, answer.content
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
    return client


def beat(client: APIClient, *workers: dict[str, Any]) -> Any:
    return client.post("/api/v1/agents/heartbeat", {**HOST, "workers": list(workers)})


def routed() -> list[RoutedWorker]:
    """The servers of own endpoints in the newest snapshot."""
    row = SnapshotRow.objects.first()
    assert row is not None
    snapshot = decode_snapshot(msgspec.json.encode(row.body))
    return [worker for worker in snapshot.workers if worker.id.startswith("~")]


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


def test_nobody_else_sees_or_changes_hosts(
    shop: Shop, endpoint: OwnEndpoint, stranger: User
) -> None:
    row, _ = worker_token_create(endpoint=endpoint)
    beat(registered(endpoint), READY)
    agent = Agent.objects.get()
    looks = User.objects.create_user("viewer@example.com")
    member_set(organisation=shop.organisation, user=looks, role=Role.VIEWER)
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    paths = {
        f"/api/v1/agents/{agent.pk}": "delete",
        f"/api/v1/worker-tokens/{row.pk}": "delete",
    }
    pages = (
        f"/endpoints/{endpoint.pk}/hosts",
        f"/endpoints/{endpoint.pk}/agents/{agent.pk}/revoke",
        f"/endpoints/{endpoint.pk}/tokens/{row.pk}/end",
    )
    for who, status, page_status in ((stranger, 404, 404), (staff, 404, 302), (looks, 403, 403)):
        client = api(who)
        for path, verb in paths.items():
            assert getattr(client, verb)(path).status_code == status, path
        made = client.post("/api/v1/worker-tokens", {"endpoint": endpoint.pk})
        assert made.status_code == status
        page = signed_in(who)
        # Staff without a second factor are led to set one up.
        assert [page.post(path).status_code for path in pages] == [page_status] * 3
        seen = 1 if who is looks else 0
        assert len(client.get("/api/v1/agents").json()["results"]) == seen
        assert (
            len(client.get(f"/api/v1/agents?endpoint__id={endpoint.pk}").json()["results"]) == seen
        )
    assert signed_in(stranger).get(pages[0]).status_code == 404
    assert signed_in(looks).get(pages[0]).status_code == 200
    agent.refresh_from_db()
    row.refresh_from_db()
    assert (agent.revoked_at, row.state) == (None, "open")
    # Nor does staff on the command line.
    out = StringIO()
    call_command("workers", "list", stdout=out)
    assert out.getvalue() == ""
    with pytest.raises(CommandError):
        call_command("workers", "revoke", agent.name)


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


def test_pages_add_hosts_show_and_remove_them(shop: Shop, answers: None) -> None:
    client = signed_in(shop.owner)
    form = {
        "slug": "llama",
        "task": "chat",
        "key": KEY,
        "upstream_model": "llama",
        "context_tokens_max": 0,
        "completion_tokens_max": 0,
        "stands_for": shop.model.name,
        "spills": "on",
    }
    assert client.get("/endpoints/new-host").status_code == 200
    bad = client.post("/endpoints/new-host", form | {"slug": "No Slug"})
    assert bad.status_code == 422
    made = client.post("/endpoints/new-host", form)
    row = OwnEndpoint.objects.get()
    page = f"/endpoints/{row.pk}/hosts"
    assert (made.status_code, made.headers["Location"]) == (302, page)
    assert "No host serves it now." in client.get(f"/endpoints/{row.pk}").content.decode()
    client.post(page)
    shown = client.get(page).content.decode()
    (token,) = re.findall(r"wp_worker_[\w-]+", shown)
    assert "--served-name llama" in shown
    assert "WAYPOST_SERVER_KEY=KEY" in shown
    assert "wp_worker_" not in client.get(page).content.decode()
    agent = APIClient()
    credential = register(token).json()["credential"]
    agent.credentials(HTTP_AUTHORIZATION=f"Bearer {credential}")
    beat(agent, READY)
    probe_own_workers()
    assert "NVIDIA H200" in client.get(page).content.decode()
    assert "takes calls" in client.get(f"/endpoints/{row.pk}").content.decode()
    changed = client.post(f"/endpoints/{row.pk}", form | {"stands_for": ""})
    assert changed.status_code == 302
    client.post(page)
    (open_one,) = [one for one in WorkerToken.objects.all() if one.state == "open"]
    client.post(f"/endpoints/{row.pk}/tokens/{open_one.pk}/end")
    open_one.refresh_from_db()
    assert open_one.state == "expired"
    revoke = f"/endpoints/{row.pk}/agents/{Agent.objects.get().pk}/revoke"
    assert "permanently" in client.post(revoke).content.decode()
    client.post(revoke, {"confirmed": "1"})
    assert Agent.objects.get().revoked_at is not None
    assert beat(agent, READY).status_code == 401
    asked = client.post(f"/endpoints/{row.pk}/remove").content.decode()
    assert "The agents on its hosts end." in asked
    assert "GPU" in client.get("/endpoints").content.decode()
