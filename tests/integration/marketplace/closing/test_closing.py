"""Closing an organisation: who may, what ends, and what stays."""

from typing import Any
from unittest import mock

import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from marketplace.accounts.models import (
    ApiKey,
    EndedSession,
    Invitation,
    Membership,
    Organisation,
    Role,
    Scope,
    User,
)
from marketplace.accounts.services import api_key_create, organisation_create
from marketplace.agents.models import Agent, WorkerToken
from marketplace.audit.selectors import entries_of
from marketplace.batches.models import Batch
from marketplace.billing.models import Account, Transfer, TransferKind
from marketplace.billing.payments.books.transfers import receivable_account_open
from marketplace.billing.payments.models import AutoRecharge, PaymentProfile
from marketplace.billing.services import transfer_post
from marketplace.predictions.models import Prediction
from marketplace.providers.models import Listing
from marketplace.routing.models import SnapshotRow
from tests.integration.marketplace.accounts.visiting import PASSWORD, is_signed_in, sign_in
from tests.integration.marketplace.acme import Acme, open_acme
from tests.integration.marketplace.ledger import USD, lease_close, lease_take
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.django_db
CLOSE = "/organisation/close"
API = "/api/v1/organisations/acme/close"
FORM = {"name": "Acme", "slug": "acme"}
JSON: dict[str, Any] = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def _no_attempts(db: None) -> None:
    """Nobody has tried to sign in yet."""
    cache.clear()


@pytest.fixture
def acme(shop: Shop) -> Acme:
    return open_acme(shop)


def fresh(user: User) -> Client:
    """A browser in which somebody has just given their password."""
    user.set_password(PASSWORD)
    user.save()
    client = Client()
    assert sign_in(client, user.email) == 302
    client.post("/reauthenticate/", {"password": PASSWORD})
    return client


def body() -> dict[str, Any]:
    newest = SnapshotRow.objects.first()
    assert newest is not None
    found: dict[str, Any] = newest.body
    return found


def test_what_ends_and_what_stays(acme: Acme, django_capture_on_commit_callbacks: Any) -> None:
    shop = acme.shop
    AutoRecharge.objects.update(enabled=True)
    PaymentProfile.objects.create(organisation=shop.organisation, payment_method_id="pm_1")
    balance, moved = shop.customer_account.posted_nano, Transfer.objects.count()
    assert body()["keys"]
    client = fresh(shop.owner)
    page = client.get(CLOSE).text
    assert "1 key is revoked" in page
    assert "1 deployment is withdrawn" in page
    assert "cannot be used any more" in page
    assert client.post(CLOSE, FORM | {"name": "Acne"}).status_code == 422
    assert Membership.objects.filter(organisation=shop.organisation).exists()
    with (
        mock.patch("marketplace.billing.payments.recharge.stripe_api.card_detach") as detach,
        django_capture_on_commit_callbacks(execute=True),
    ):
        assert client.post(CLOSE, FORM).headers["Location"] == "/settings"
    detach.assert_called_once_with("pm_1")
    gone = Organisation.objects.get(pk=shop.organisation.pk)
    assert gone.closed_at is not None
    assert not ApiKey.objects.filter(disabled_at=None).exists()
    assert not gone.memberships.exists()
    assert not Invitation.objects.filter(revoked_at=None).exists()
    assert EndedSession.objects.filter(organisation_id=gone.pk, user_id=shop.owner.pk).exists()
    assert set(Listing.objects.values_list("state", flat=True)) == {"retired"}
    assert not Agent.objects.filter(revoked_at=None).exists()
    assert WorkerToken.objects.get(pool__isnull=False).state != "open"
    assert not gone.own_endpoints.exists()
    assert not gone.budgets.exists()
    assert not AutoRecharge.objects.get().enabled
    assert Prediction.objects.get().state == "cancelled"
    assert Batch.objects.get().status == "cancelled"
    in_force = body()
    assert not in_force["keys"]
    assert not in_force["deployments"]
    assert not in_force["budgets"]
    # The books are as they were, and staff see them.
    assert (shop.customer_account.posted_nano, Transfer.objects.count()) == (balance, moved)
    staff = signed_in(User.objects.get(email="staff@example.com"))
    assert "closed on" in staff.get("/support/acme").text
    changed = [entry.changes for entry in entries_of(Organisation.objects.filter(pk=gone.pk))]
    assert any("closed_at" in (change or {}) for change in changed)


def test_a_sole_founder_closes_it_and_then_deletes_the_account(shop: Shop) -> None:
    client = fresh(shop.owner)
    refused = client.post("/settings/delete", {"email": shop.owner.email})
    assert refused.status_code == 422
    assert "or close it" in refused.text
    client.post(CLOSE, FORM)
    assert client.get("/keys").headers["Location"] == "/welcome"
    assert client.post("/settings/delete", {"email": shop.owner.email}).status_code == 302
    assert not User.objects.filter(pk=shop.owner.pk).exists()
    assert Account.objects.filter(organisation=shop.organisation).exists()
    assert not is_signed_in(client)


def test_what_it_owes_is_paid_first(shop: Shop) -> None:
    transfer_post(
        debit=receivable_account_open(organisation=shop.organisation),
        credit=Account.objects.get(kind="cash"),
        amount_nano=3 * USD,
        idem_key="taken back",
        kind=TransferKind.REFUND,
    )
    client = fresh(shop.owner)
    assert "owes 3 USD" in client.get(CLOSE).text
    assert client.post(CLOSE, FORM).status_code == 422
    assert Organisation.objects.get(slug="acme").closed_at is None


def test_a_lease_that_is_open_comes_back_by_the_ledgers_rules(shop: Shop) -> None:
    account = shop.customer_account
    lease = lease_take(account.pk, 1, 5)
    assert lease is not None
    fresh(shop.owner).post(CLOSE, FORM)
    assert shop.customer_account.held_nano == 5
    lease_close(lease)
    ended = shop.customer_account
    assert (ended.posted_nano, ended.held_nano) == (account.posted_nano, 0)


@pytest.mark.parametrize("role", [role for role in Role if role != Role.OWNER])
def test_only_owners_close_it(shop: Shop, role: Role) -> None:
    member = User.objects.create_user("member@example.com")
    Membership.objects.create(organisation=shop.organisation, user=member, role=role)
    client = fresh(member)
    assert client.get(CLOSE).status_code == 403
    assert client.post(CLOSE, FORM).status_code == 403
    assert "/organisation/close" not in client.get("/organisation").text
    assert client.post(API, {"name": "Acme"}, **JSON).status_code == 403


def test_without_a_fresh_password_it_is_asked_for(shop: Shop) -> None:
    shop.owner.set_password(PASSWORD)
    shop.owner.save()
    client = signed_in(shop.owner)
    asked = client.post(CLOSE, FORM)
    assert "/reauthenticate/" in asked.headers["Location"]
    api = APIClient()
    api.force_login(shop.owner)
    refused = api.post(API, {"name": "Acme"})
    assert refused.status_code == 403
    assert "/reauthenticate/" in refused.json()["detail"]
    assert Organisation.objects.get(slug="acme").closed_at is None


def test_over_the_api(shop: Shop) -> None:
    _row, key = api_key_create(
        organisation=shop.organisation, name="m", scopes=[Scope.MANAGEMENT, Scope.INFERENCE]
    )
    by_key = APIClient(headers={"Authorization": f"Bearer {key}"})
    assert by_key.post(API, {"name": "Acme"}).status_code == 403
    client = fresh(shop.owner)
    told = client.get(API).json()
    assert (told["balance_nano"], told["owed_nano"], told["earned_nano"]) == (10 * USD, 0, 0)
    wrong = client.post(API, {"name": "acme"}, **JSON)
    assert wrong.status_code == 400
    assert wrong.json()["errors"][0]["field"] == "name"
    assert client.post(API, {"name": "Acme"}, **JSON).status_code == 204
    assert client.get("/api/v1/organisations").json()["results"] == []
    assert client.post(API, {"name": "Acme"}, **JSON).status_code == 404
    assert by_key.get("/api/v1/organisations").status_code == 401


def test_a_key_that_was_made_meanwhile_is_no_key(shop: Shop) -> None:
    """It may be made between the look at the keys and the end of the closing."""
    fresh(shop.owner).post(CLOSE, FORM)
    _row, key = api_key_create(
        organisation=shop.organisation, name="late", scopes=[Scope.MANAGEMENT]
    )
    assert not body()["keys"]
    client = APIClient(headers={"Authorization": f"Bearer {key}"})
    assert client.get("/api/v1/organisations").status_code == 401


def test_the_platforms_own_organisations_stay(shop: Shop) -> None:
    Organisation.objects.filter(pk=shop.organisation.pk).update(slug="waypost-benchmarks")
    client = fresh(shop.owner)
    told = client.post(CLOSE, {"name": "Acme", "slug": "waypost-benchmarks"})
    assert "it stays" in told.text
    assert told.status_code == 422


def test_a_form_that_is_sent_twice_closes_no_other_of_the_same_name(shop: Shop) -> None:
    other = organisation_create(name="Acme", slug="acme-2", owner=shop.owner)
    client = fresh(shop.owner)
    assert client.post(CLOSE, FORM).status_code == 302
    again = client.post(CLOSE, FORM)
    assert again.status_code == 422
    assert "another organisation by now" in again.text
    other.refresh_from_db()
    assert other.closed_at is None
