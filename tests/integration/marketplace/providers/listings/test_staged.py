"""Who sees what a listing sells before staff have approved it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from rest_framework.test import APIClient

from marketplace.accounts.models import Scope, User
from marketplace.accounts.services import api_key_create
from marketplace.benchmarks.models import Profile
from marketplace.catalog.models import AIModel, Deployment, DeploymentStatus
from marketplace.providers.listings.states import ListingAction, Who
from marketplace.providers.models import ConformanceRun, Listing
from marketplace.providers.services import deployments_hide
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.providers.listings.moving import act, checked, measured
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")

A = ListingAction
OTHER = {"model_name": "harbour/other", "pool_name": "harbour-other"}
Draft = Callable[..., Listing]
LISTS = ("deployments", "offers", "pools", "workers", "benchmarks", "profiles")


def api(user: User | None = None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def seen(client: APIClient) -> Mapping[str, set[int]]:
    """The ids that each list shows, each of which can be looked at alone."""
    found = {}
    for name in LISTS:
        rows = client.get(f"/api/v1/{name}").json()["results"]
        found[name] = {row["id"] for row in rows}
        for row in rows:
            at = row["name"] if name == "pools" else row["id"]
            assert client.get(f"/api/v1/{name}/{at}").status_code == 200
    return found


def staged_by(draft: Draft, **values: Any) -> tuple[Listing, dict[str, Any], dict[str, int]]:
    """A measured listing, its addresses in the API, and their ids."""
    listing = measured(checked(draft, **values))
    deployment = listing.deployment
    assert deployment is not None
    assert listing.benchmark is not None
    profile = Profile.objects.create(
        deployment=deployment, service_ms=5, source="a test", published=True
    )
    ids = {
        "deployments": deployment.pk,
        "offers": deployment.offers.get().pk,
        "pools": deployment.pool.pk,
        "workers": deployment.pool.workers.get().pk,
        "benchmarks": listing.benchmark.pk,
        "profiles": profile.pk,
    }
    at = {name: deployment.pool.name if name == "pools" else pk for name, pk in ids.items()}
    return listing, at, ids


def test_what_waits_for_approval_is_its_providers_and_staffs(
    draft: Draft, shop: Shop, stranger: User
) -> None:
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    before = seen(api())
    listing, at, ids = staged_by(draft, existing_model=shop.model, version="1")
    _row, key = api_key_create(
        organisation=shop.organisation, name="deploy", scopes=[Scope.MANAGEMENT]
    )
    by_key = api()
    by_key.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    for client in (api(), api(stranger)):
        assert seen(client) == before
        for name, where in at.items():
            assert client.get(f"/api/v1/{name}/{where}").status_code == 404
        assert client.get(f"/benchmarks/{ids['benchmarks']}").status_code == 404
        assert at["pools"] not in client.get(f"/models/{shop.model.name}?tab=versions").text
        assert at["pools"] not in client.get(f"/benchmarks/compare?model={shop.model.name}").text
    for client in (api(shop.owner), by_key, api(staff)):
        assert all(ids[name] in found for name, found in seen(client).items())
    act(act(listing, A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    assert all(ids[name] in found for name, found in seen(api(stranger)).items())


def test_a_version_is_shown_once_a_deployment_of_it_was_approved(
    draft: Draft, shop: Shop, stranger: User
) -> None:
    listing, _at, _ids = staged_by(draft)
    act(act(listing, A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    model = AIModel.objects.get(name="harbour/sea-1")
    staged_by(draft, existing_model=model, version="secret-9", pool_name="harbour-9")
    path = "/api/v1/models/harbour/sea-1"
    assert "secret-9" not in [row["version"] for row in api(stranger).get(path).json()["versions"]]
    assert "secret-9" not in api(stranger).get("/models/harbour/sea-1?tab=versions").text


def test_what_was_on_sale_stays_seen_while_it_is_paused_and_not_once_it_is_changed(
    draft: Draft, shop: Shop, stranger: User
) -> None:
    listing, _at, ids = staged_by(draft)
    listing = act(act(listing, A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    paused = act(listing, A.PAUSE)
    assert ids["deployments"] in seen(api(stranger))["deployments"]
    act(act(paused, A.REVISE), A.SUBMIT)
    assert ids["deployments"] in seen(api(stranger))["deployments"]
    checked_again = Deployment.objects.get(pk=ids["deployments"])
    job_run_next(ConformanceRun)
    assert ids["deployments"] not in seen(api(stranger))["deployments"]
    checked_again.refresh_from_db()
    assert not checked_again.published


def test_what_is_retired_before_any_approval_stays_unseen(draft: Draft, stranger: User) -> None:
    listing = act(checked(draft), A.RETIRE)
    assert listing.deployment is not None
    assert listing.deployment.status == DeploymentStatus.RETIRED
    assert listing.deployment.pk not in seen(api(stranger))["deployments"]


def test_what_an_older_release_staged_is_hidden(draft: Draft, shop: Shop) -> None:
    staged, retired = checked(draft), act(checked(draft, **OTHER), A.RETIRE)
    Deployment.objects.update(published=True)
    assert deployments_hide() == 2
    hidden = set(Deployment.objects.filter(published=False).values_list("pk", flat=True))
    assert hidden == {staged.deployment_id, retired.deployment_id}
    act(act(measured(staged), A.REQUEST_REVIEW), A.APPROVE, Who.STAFF)
    assert deployments_hide() == 0
