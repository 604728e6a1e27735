"""The tenant boundary: every operation of the APIs and every page, tried by another organisation.

The operations come out of the API's own schema and the pages out of the URLs, so a new one is tried
without being listed here; only where its rows are somebody's has it to say which.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone
from rest_framework.test import APIClient

from marketplace.accounts.models import Scope, User
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.config.urls import jobs as urls_jobs
from marketplace.config.urls import pages as urls_pages
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.api_operations import Operation, operations
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db

PUBLIC = frozenset(
    {"models", "providers", "pools", "workers", "deployments", "offers", "quotes", "policies"}
    | {"benchmarks", "profiles", "rankings", "rankings/apps"}
    | {"estimates", "policies/diff"}
)
"""Everybody signed in may read; only staff write."""
STAFF = frozenset({"proposals", "route-tunings", "what-ifs", "topology", "support", "looks"})
OWN = frozenset({"session-token", "ledger/accounts/balance", "usage/summary", "pipelines/validate"})
"""They name no row; the body or the query names an organisation."""

AGENTS = frozenset({"agents/register", "agents/heartbeat"})
"""For agents, who have a token or their own credential."""


def secrets_of(acme: Acme) -> set[str]:
    """Text that reveals Acme, and text that only Acme may see."""
    rows = {name: row for name, (_, row) in acme.rows.items()}
    numbers = {rows[name].number for name in ("invoices", "payout-statements")}
    return numbers | {
        *("acme", "Acme", "owner@example.com", "of-acme", "new@example.com", "gpu-of-acme"),
        *("a gift", "a transfer", str(rows["usage"].pk), rows["keys"].masked),
        *("lines-of-acme", "asked-by-acme", "192.0.78.9", "…6789"),
        "Be brief as Acme is.",
    }


@pytest.fixture
def acme(shop: Shop) -> Acme:
    return open_acme(shop)


@pytest.fixture
def strangers(acme: Acme) -> list[APIClient]:
    """The owner of another organisation, in person and by a management key."""
    user = User.objects.create_user("stranger@example.com")
    other = organisation_create(name="Other", slug="other", owner=user)
    _, key = api_key_create(organisation=other, name="theirs", scopes=[Scope.MANAGEMENT])
    in_person, by_key = APIClient(), APIClient()
    in_person.force_login(user)
    by_key.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return [in_person, by_key]


def allowed_to_strangers(operation: Operation) -> set[int]:
    """The allowed answers: others do not even learn that a row exists."""
    if operation.resource in PUBLIC | STAFF:
        # A provider is its organisation's to change, and nobody else's to know how.
        return {403, 404}
    if operation.resource in AGENTS:
        return {401, 403}
    if str(operation) == "POST /api/v1/organisations":
        return {201, 400, 403}  # Anybody may have their own.
    if operation.method != "get":
        # What keys may not do, or nobody may do, is refused first.
        return {404, 403, 405}
    return {404} if operation.is_of_one_row else {200, 404}


def test_every_resource_is_somebodys(acme: Acme) -> None:
    known = acme.rows.keys() | PUBLIC | STAFF | OWN | AGENTS
    assert sorted({operation.resource for operation in operations()} - known) == []


def test_a_stranger_reads_and_changes_nothing_of_acme(
    acme: Acme, strangers: list[APIClient]
) -> None:
    shop = acme.shop
    known = {
        "organisation": shop.organisation.slug,
        "provider": shop.provider.slug,
        "model": shop.model.name,
        "member": shop.owner.email,
        "deployment": shop.deployment.pk,
        "worker": shop.worker.worker_id,
        "pool": shop.worker.pool.name,
        "key": None,
        "models_allowed": [],
        "guard_model": "",
        "url": "https://192.0.78.8",
        "stands_for": shop.model.name,
        "rules": [],
        "fingerprint": "ab" * 8,
        "existing_model": shop.model.name,
    }
    public = {
        "models": shop.model.name,
        "providers": shop.provider.slug,
        "pools": shop.worker.pool.name,
    }
    public |= {name: acme.rows.get(name, (0,))[0] for name in PUBLIC - public.keys()}
    public |= {"workers": shop.worker.pk, "deployments": shop.deployment.pk}
    received: dict[str, Any] = {}
    before, secrets = acme.stored(), secrets_of(acme)
    for operation, asks_for in itertools.product(operations(), ({}, known)):
        if operation.method != "get" and not asks_for:
            continue
        is_public = operation.method == "get" and operation.resource in PUBLIC
        row = public if is_public else {name: row for name, (row, _) in acme.rows.items()}
        path = operation.path_of(row.get(operation.resource, 0))
        for client in strangers:
            if operation.method == "get":
                sent = operation.query(asks_for)
                answer = client.get(path, sent)
            else:
                sent = operation.body(asks_for)
                answer = getattr(client, operation.method)(path, sent)
            content = answer.content.decode(errors="replace")
            allowed = allowed_to_strangers(operation) | (set() if asks_for else {400})
            if not is_public and answer.status_code not in allowed:
                received[str(operation)] = (answer.status_code, content[:300])
            # What a stranger sent may be said again by an error; nothing else may.
            unsent = {secret for secret in secrets if secret not in path + json.dumps(sent)}
            found = unsent if answer.status_code >= 400 else secrets
            if leaked := [secret for secret in found if secret in content]:
                received[str(operation)] = (answer.status_code, leaked, content[:300])
    assert not received, "\n".join(f"{name}: {what}" for name, what in received.items())
    assert acme.stored() == before


# --- pages and jobs -------------------------------------------------------------------------------

PUBLIC_PAGES = frozenset({"model", "benchmark", "benchmark-file"})
"""Everybody may read these of anybody's."""

OWN_PAGES = frozenset({"focus-csv"})
"""They name no row: what they show is the viewer's own."""


def named(route: str, acme: Acme) -> str:
    """A path for the route, with Acme's rows in it."""
    rows = {name: row for name, (row, _) in acme.rows.items()}
    shop = acme.shop
    author, _, slug = str(rows["pipelines"] if "pipelines" in route else shop.model.name).partition(
        "/"
    )
    slugs = {"provide": shop.provider.slug, "reviews": shop.provider.slug}
    values = {
        "str:author": author,
        "str:slug": slug,
        "slug:slug": slugs.get(route.partition("/")[0], shop.organisation.slug),
        "str:public_id": rows["files" if route.startswith("files") else "batches"],
        "str:kind": "json" if route.startswith("benchmarks") else "output",
        "str:prediction_id": rows["predictions"],
        "uuid:uid": rows["predictions"],
        "uuid:request_id": rows["usage"],
        "uuid:payment_id": rows["payments"],
        "int:request_id": rows["credit-requests"],
        "int:key_id": rows["keys"],
        "int:endpoint_id": rows[
            "endpoints/hosted" if re.search("hosts|agents|tokens", route) else "endpoints"
        ],
        "int:agent_id": rows["endpoints/agents"],
        "int:token_id": rows[
            "endpoints/tokens" if route.startswith("endpoints") else "worker-tokens"
        ],
        "int:delivery_id": rows["webhook-deliveries"],
        "int:user_id": shop.owner.pk,
        "int:advice_id": rows["advice"],
        "int:benchmark_id": rows["benchmarks"],
        "int:listing_id": rows["listings"],
        "int:deployment_id": rows["offerings"],
        "int:member_id": rows["members"],
        "int:invitation_id": rows["invitations"],
        "str:number": rows["invoices"],
        "str:month": f"{timezone.now():%Y-%m}",
        "str:name": shop.worker.pool.name,
        "slug:name": "brief-of-acme",
        "slug:provider": shop.provider.slug,
        "str:agent": "gpu-of-acme",
        "str:worker_id": shop.worker.worker_id,
        # Only staff see these, whoever's they are.
        **dict.fromkeys(("int:what_if_id", "int:trial_id", "int:letter_id"), 1),
        "str:token": "guessed",
    }
    return "/" + re.sub(r"<(\w+:\w+)>", lambda match: str(values[match[1]]), route)


def content_of(answer: Any) -> str:
    """The whole of it, though it is a stream."""
    if answer.streaming and answer.is_async:
        return ""
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return bytes(content).decode(errors="replace")


def leaked(answer: Any, path: str, secrets: set[str]) -> list[str]:
    """What of Acme's it says that its path does not."""
    content = content_of(answer)
    return sorted(secret for secret in secrets if secret in content and secret not in path)


def test_a_stranger_opens_no_page_of_acme(acme: Acme) -> None:
    user = User.objects.create_user("stranger@example.org")
    organisation_create(name="Other", slug="other", owner=user)
    client = signed_in(user)
    found: dict[str, Any] = {}
    before, secrets = acme.stored(), secrets_of(acme)
    for page in (page for page in urls_pages.urlpatterns if isinstance(page, URLPattern)):
        route = str(page.pattern)
        path = named(route, acme)
        is_public = "<" not in route or page.name in PUBLIC_PAGES | OWN_PAGES
        for method in ("get",) if "<" not in route else ("get", "post"):
            answer = getattr(client, method)(path)
            is_refused = answer.status_code in {403, 404, 405}
            if not is_refused and not (is_public and method == "get"):
                found[f"{method} {path}"] = answer.status_code
            if told := leaked(answer, path, secrets):
                found[f"{method} {path}"] = told
    assert not found
    assert acme.stored() == before


def test_a_stranger_reaches_no_file_batch_or_prediction_of_acme(acme: Acme) -> None:
    user = User.objects.create_user("stranger@example.org")
    other = organisation_create(name="Other", slug="other", owner=user)
    _, key = api_key_create(organisation=other, name="theirs")
    client = Client(headers={"Authorization": f"Bearer {key}"})
    found: dict[str, Any] = {}
    before, secrets = acme.stored(), secrets_of(acme)
    for operation in (item for item in urls_jobs.urlpatterns if isinstance(item, URLPattern)):
        route = str(operation.pattern)
        path = "/v1" + named(route, acme)
        for method in ("get", "post", "delete") if "<" in route else ("get",):
            answer = getattr(client, method)(path)
            if "<" in route and answer.status_code not in {404, 405}:
                found[f"{method} {path}"] = answer.status_code
            if told := leaked(answer, path, secrets):
                found[f"{method} {path}"] = told
    assert not found
    assert acme.stored() == before
