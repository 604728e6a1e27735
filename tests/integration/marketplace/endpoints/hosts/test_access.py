"""Who sees and changes hosts, and the pages of them."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from marketplace.accounts.models import Role, User
from marketplace.accounts.services import member_set
from marketplace.agents.models import Agent, WorkerToken
from marketplace.agents.tokens import worker_token_create
from marketplace.endpoints.models import OwnEndpoint
from marketplace.endpoints.tasks import probe_own_workers
from tests.integration.marketplace.endpoints.hosts.reporting import (
    KEY,
    READY,
    api,
    beat,
    register,
    registered,
)
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db


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
