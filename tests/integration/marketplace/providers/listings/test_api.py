"""The API of listings and providers, and who may do what there."""

import pytest
from rest_framework.test import APIClient

from marketplace.accounts.models import Scope, User
from marketplace.accounts.services import api_key_create
from marketplace.catalog.models import Provider
from marketplace.providers.models import ConformanceRun
from marketplace.shared.jobs.services import job_run_next
from tests.integration.marketplace.providers.listings.moving import Draft
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def api(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def test_the_api_takes_the_same_way(draft: Draft, shop: Shop, stranger: User) -> None:
    draft()
    owner = api(shop.owner)
    (row,) = owner.get("/api/v1/listings").json()["results"]
    path = f"/api/v1/listings/{row['id']}"
    assert owner.patch(path, {"display_name": "Sea One"}).json()["display_name"] == "Sea One"
    assert api(stranger).get(path).status_code == 404
    assert api(stranger).post(f"{path}/submit").status_code == 404
    assert owner.get(f"{path}/check").status_code == 404
    assert owner.post(f"{path}/submit").json()["state"] == "checking"
    assert owner.post(f"{path}/approve").status_code == 403
    refused = owner.post(f"{path}/resume")
    assert refused.status_code == 400
    assert "possible: cancel" in refused.json()["detail"]
    job_run_next(ConformanceRun)
    results = owner.get(f"{path}/check").json()["results"]
    assert {"plain_call", "usage", "stream"} <= {result["check_name"] for result in results}
    assert owner.patch(path, {"display_name": "Later"}).status_code == 400
    history = owner.get(f"{path}/history").json()
    assert [event["action"] for event in history] == ["pass", "submit"]


def test_a_management_key_publishes_in_its_own_name(draft: Draft, shop: Shop) -> None:
    listing = draft()
    _, key = api_key_create(
        organisation=shop.organisation, name="deploy", scopes=[Scope.MANAGEMENT]
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    made = client.post("/api/v1/listings", {"provider": "harbour", "model_name": "harbour/x"})
    assert made.status_code == 201, made.json()
    assert client.post(f"/api/v1/listings/{listing.pk}/retire").json()["state"] == "retired"
    assert listing.events.get().actor == "key deploy"


def test_an_organisation_opens_and_describes_its_provider(shop: Shop, stranger: User) -> None:
    body = {"slug": "quay", "name": "Quay", "organisation": "acme"}
    assert api(stranger).post("/api/v1/providers", body).status_code == 404
    assert api(shop.owner).post("/api/v1/providers", body).status_code == 201
    path = "/api/v1/providers/quay"
    assert api(shop.owner).patch(path, {"description": "Near."}).json()["description"] == "Near."
    assert api(stranger).patch(path, {"description": "Mine."}).status_code == 404
    assert api(shop.owner).patch(path, {"commission_bps": 0}).status_code == 403
    staff = User.objects.create_user("staff@example.com", is_staff=True)
    assert api(staff).patch(path, {"commission_bps": 500}).status_code == 200
    for wrong, status in (({"name": "X"}, 404), ({"slug": "y"}, 400), ({"organisation": "z"}, 400)):
        assert api(staff).patch(path, {"commission_bps": 900, **wrong}).status_code == status
    assert Provider.objects.get(slug="quay").commission_bps == 500
    assert APIClient().get(path).status_code == 200
