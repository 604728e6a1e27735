"""Tokens and credentials: who makes them, what they open, and when they end."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set, organisation_create
from marketplace.agents import services
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.tokens import HOURS_MAX, worker_token_create
from marketplace.catalog.models import Deployment, Worker
from marketplace.catalog.services import provider_create
from tests.integration.marketplace.agents.reporting import HOST, READY, beat, registered
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


def test_a_token_is_a_digest_works_once_and_expires(shop: Shop) -> None:
    row, token = worker_token_create(pool=shop.worker.pool)
    assert token not in repr(WorkerToken.objects.filter(pk=row.pk).values())
    asked = {**HOST, "token": token, "name": "gpu"}
    answer = APIClient().post("/api/v1/agents/register", asked)
    assert answer.status_code == 201
    assert answer.json()["credential"] not in repr(Agent.objects.values())
    assert (answer.json()["name"], answer.json()["pool"]) == ("gpu", "fast")
    assert APIClient().post("/api/v1/agents/register", asked).status_code == 403
    old, expired = worker_token_create(pool=shop.worker.pool)
    WorkerToken.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    late = APIClient().post("/api/v1/agents/register", {**asked, "token": expired})
    assert late.status_code == 403
    assert "expired" in late.json()["detail"]


def test_its_credential_opens_nothing_else(shop: Shop) -> None:
    agent = registered(shop)
    for path in ("agents", "keys", "worker-tokens"):
        assert agent.get(f"/api/v1/{path}").status_code == 401


def test_by_a_reusable_token_many_join_and_come_back_as_themselves(shop: Shop) -> None:
    row, token = worker_token_create(pool=shop.worker.pool, reusable=True)

    def joined(name: str) -> tuple[str, APIClient]:
        answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})
        assert answer.status_code == 201, answer.content
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
        return answer.json()["name"], client

    first, before = joined("pool-0")
    second, _ = joined("pool-1")
    assert (first, second) == ("pool-0", "pool-1")
    assert beat(before, READY).status_code == 200
    assert beat(before).status_code == 200  # It has drained and is gone.
    again, client = joined("pool-0")
    assert again == "pool-0"
    assert beat(before, READY).status_code == 401
    assert beat(client, {**READY, "url": "http://10.0.0.9:8000"}).status_code == 200
    (worker,) = Worker.objects.filter(worker_id="pool-0-a")
    assert (worker.url, worker.draining) == ("http://10.0.0.9:8000", False)
    services.agent_revoke(agent=Agent.objects.get(name="pool-0"))
    assert joined("pool-0")[0] == "pool-0-2"
    other, _ = worker_token_create(pool=shop.worker.pool, reusable=True)
    call_command("workers", "end-tokens", pool="fast", stdout=StringIO())
    assert {row.state for row in WorkerToken.objects.filter(pk__in=[row.pk, other.pk])} == {
        "expired"
    }
    refused = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "x"})
    assert refused.status_code == 403


def test_a_one_time_token_does_not_give_somebody_elses_name(shop: Shop) -> None:
    registered(shop, "gpu")
    _, reusable = worker_token_create(pool=shop.worker.pool, reusable=True)
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": reusable, "name": "gpu"})
    assert answer.json()["name"] == "gpu-2"


def test_the_owner_of_a_pool_ends_its_tokens(shop: Shop) -> None:
    owner, viewer = APIClient(), APIClient()
    owner.force_login(shop.owner)
    looks = User.objects.create_user("sees@example.com")
    member_set(organisation=shop.organisation, user=looks, role=Role.VIEWER)
    viewer.force_login(looks)
    made = owner.post("/api/v1/worker-tokens", {"pool": "fast", "reusable": True, "hours": 8784})
    assert made.status_code == 201, made.content
    assert made.json()["reusable"] is True
    path = f"/api/v1/worker-tokens/{made.json()['id']}"
    assert viewer.delete(path).status_code == 403
    assert owner.delete(path).status_code == 204
    assert owner.get(path).json()["state"] == "expired"


def test_tokens_are_made_by_who_alone_sells_on_the_pool(shop: Shop) -> None:
    owner, viewer, staff = (APIClient() for _ in range(3))
    owner.force_login(shop.owner)
    looks = User.objects.create_user("viewer@example.com")
    member_set(organisation=shop.organisation, user=looks, role=Role.VIEWER)
    viewer.force_login(looks)
    staff.force_login(User.objects.create_user("staff@example.com", is_staff=True))

    def status(client: APIClient, **asked: object) -> int:
        return client.post("/api/v1/worker-tokens", {"pool": "fast", **asked}).status_code

    assert [status(client) for client in (owner, viewer, staff)] == [201, 403, 201]
    assert status(owner, hours=HOURS_MAX + 1) == 400
    assert status(owner, pool="nowhere") == 404
    rival = organisation_create(
        name="Rival", slug="rival", owner=User.objects.create_user("rival@example.com")
    )
    provider = provider_create(slug="rival", name="Rival")
    provider.organisation = rival
    provider.save()
    Deployment.objects.create(
        version=shop.deployment.version,
        provider=provider,
        pool=shop.worker.pool,
        upstream_model="slug",
    )
    assert [status(client) for client in (owner, staff)] == [404, 201]


def test_the_page_shows_a_new_token_once_and_revokes(shop: Shop) -> None:
    client = signed_in(shop.owner)
    page = "/pools/fast/workers"
    assert client.post(page, follow=True).status_code == 200
    client.post(page)
    shown = client.get(page).content.decode()
    (token,) = re.findall(r"wp_worker_[\w-]+", shown)
    assert "wp_worker_" not in client.get(page).content.decode()
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "gpu"})
    assert answer.status_code == 201
    assert "NVIDIA H200" in client.get(page).content.decode()
    revoke = "/pools/fast/agents/gpu/revoke"
    assert "permanently" in client.post(revoke).content.decode()
    client.post(revoke, {"confirmed": "1"})
    assert Agent.objects.get().revoked_at is not None
    stranger = signed_in(User.objects.create_user("stranger@example.com"))
    assert stranger.get(page).status_code == 404
    assert stranger.post(revoke).status_code == 404


def test_the_command_line_makes_tokens_lists_and_revokes(shop: Shop) -> None:
    def said(*words: str) -> str:
        out = StringIO()
        call_command("workers", *words, stdout=out)
        return out.getvalue()

    token = said("token", "--pool", "fast", "--hours", "1").strip()
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": "gpu"})
    assert answer.status_code == 201
    assert said("list").startswith("gpu\tfast\tregistered\tnever seen")
    assert "revoked" in said("revoke", "gpu")
    with pytest.raises(CommandError, match="no pool is called 'slow'"):
        said("token", "--pool", "slow")
