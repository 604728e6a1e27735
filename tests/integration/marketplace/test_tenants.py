"""The tenant boundary: every operation of the management API, tried by another organisation.

The operations come out of the API's own schema, so a new one is tried without being listed here;
only where its rows are somebody's has it to say which.
"""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from marketplace.accounts.models import Scope, User
from marketplace.accounts.services import api_key_create, organisation_create
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.operations import Operation, operations
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db

PUBLIC = frozenset(
    {"models", "providers", "pools", "workers", "deployments", "offers", "quotes", "policies"}
    | {"benchmarks", "profiles", "rankings", "estimates", "policies/diff"}
)
"""Whoever signs in may read; only the staff write."""
STAFF = frozenset({"proposals", "route-tunings", "what-ifs", "topology", "support", "looks"})
OWN = frozenset({"session-token", "ledger/accounts/balance", "usage/summary"})
"""They name no row; the body or the query names an organisation."""

SECRETS = ("acme", "owner@example.com", "of-acme")


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
    """What may be the answer: not even that a row is there is told to those it is not for."""
    if operation.resource in PUBLIC | STAFF:
        # A provider is its organisation's to change, and nobody else's to know how.
        return {403, 404}
    if str(operation) == "POST /api/v1/organisations":
        return {201, 400, 403}  # Any person may have one of their own.
    if operation.method != "get":
        # What nobody may do by a key, or at all, is said before.
        return {404, 403, 405}
    return {404} if operation.is_of_one_row else {200, 404}


def test_every_resource_is_somebodys(acme: Acme) -> None:
    known = acme.rows.keys() | PUBLIC | STAFF | OWN
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
        "key": None,
        "models_allowed": [],
        "existing_model": shop.model.name,
    }
    told: dict[str, Any] = {}
    before = acme.stored()
    for operation in operations():
        if operation.method == "get" and operation.resource in PUBLIC:
            continue
        path = operation.path_of(acme.rows.get(operation.resource, (0,))[0])
        for client in strangers:
            if operation.method == "get":
                answer = client.get(path, operation.query(known))
            else:
                answer = getattr(client, operation.method)(path, operation.body(known))
            content = answer.content.decode()
            if answer.status_code not in allowed_to_strangers(operation):
                told[str(operation)] = (answer.status_code, content[:300])
            if answer.status_code == 200 and any(secret in content for secret in SECRETS):
                told[str(operation)] = content[:300]
    assert not told, "\n".join(f"{name}: {what}" for name, what in told.items())
    assert acme.stored() == before
