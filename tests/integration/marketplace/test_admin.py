"""Every admin page opens, and what is saved there is in force."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client

from marketplace.accounts.models import ApiKey, User
from marketplace.accounts.services import api_key_create
from marketplace.benchmarks.models import Profile
from marketplace.billing.services import ledger_reconcile
from marketplace.routing.models import PolicyKind, SnapshotRow
from marketplace.routing.services import policy_publish
from tests.integration.marketplace.ledger import lease_take, record, settle
from tests.integration.marketplace.shop import Shop

REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in REGISTERED if model.__module__.startswith("marketplace.")]


@pytest.fixture
def staff(shop: Shop) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))
    return client


@pytest.fixture
def full(shop: Shop) -> Shop:
    """One row of everything."""
    lease_take(shop.customer_account.pk, 1, 1)
    settle(record(organisation_id=shop.organisation.pk))
    ledger_reconcile()
    policy_publish(model=shop.model, kind=PolicyKind.ROUND_ROBIN)
    Profile.objects.create(deployment=shop.deployment, service_ms=1, source="test")
    api_key_create(organisation=shop.organisation, name="k")
    return shop


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label_lower)
def test_every_page_opens(full: Shop, staff: Client, model: type) -> None:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"  # type: ignore[attr-defined]
    assert staff.get(base).status_code == 200
    may_search = bool(admin.site._registry[model].search_fields)  # type: ignore[index]
    assert not may_search or staff.get(f"{base}?q=a").status_code == 200
    assert staff.get(f"{base}add/").status_code in {200, 403}
    row = model._default_manager.first()  # type: ignore[attr-defined]
    assert staff.get(f"{base}{row.pk}/change/").status_code == 200


def test_saving_a_worker_publishes(shop: Shop, staff: Client) -> None:
    saved = staff.post(
        f"/admin/catalog/worker/{shop.worker.pk}/change/",
        {
            "worker_id": "fast-0",
            "pool": shop.worker.pool_id,
            "url": "http://127.0.0.1:77",
            "protocol": "openai",
            "slots": 5,
            "healthy": "on",
        },
    )
    assert saved.status_code == 302
    row = SnapshotRow.objects.first()
    assert row is not None
    assert row.body["workers"][0]["slots"] == 5


def test_a_key_made_in_the_admin_is_shown_once(shop: Shop, staff: Client) -> None:
    body = {"organisation": shop.organisation.pk, "name": "by hand", "scopes": "inference"}
    page = staff.post("/admin/accounts/apikey/add/", body, follow=True).content.decode()
    assert "sy_live_" in page
    assert ApiKey.objects.get().name == "by hand"
    assert "not shown again" not in staff.get("/admin/accounts/apikey/").content.decode()


def test_a_user_is_added_by_email(shop: Shop, staff: Client) -> None:
    body = {
        "email": "new@example.com",
        "usable_password": "true",
        "password1": "a long enough phrase",
        "password2": "a long enough phrase",
    }
    assert staff.post("/admin/accounts/user/add/", body).status_code == 302
    assert User.objects.get(email="new@example.com").check_password("a long enough phrase")


def test_the_ledger_cannot_be_edited_here(shop: Shop, staff: Client) -> None:
    account = shop.customer_account
    for path in ("billing/account", "billing/transfer", "billing/lease", "usage/usageevent"):
        assert staff.get(f"/admin/{path}/add/").status_code == 403
    page = f"/admin/billing/account/{account.pk}/"
    assert staff.post(f"{page}change/", {"kind": "cash"}).status_code == 403
    assert staff.post(f"{page}delete/", {"post": "yes"}).status_code == 403


def test_a_policy_saved_in_the_admin_is_a_new_version(shop: Shop, staff: Client) -> None:
    weights = {"wait_weight": "5", "usd_weight_s": "20", "hedge_share": "0.05", "shared": "on"}
    for version in (1, 2):
        body = {"model": shop.model.pk, "kind": "round_robin", "note": "", **weights}
        assert staff.post("/admin/routing/policy/add/", body).status_code == 302
        latest = shop.model.policies.first()
        assert latest is not None
        assert latest.version == version
        assert (latest.usd_weight_s, latest.shared) == (20.0, True)
    too_much = {"model": shop.model.pk, "kind": "round_robin", **weights, "hedge_share": "0.9"}
    assert b"0.2" in staff.post("/admin/routing/policy/add/", too_much).content
