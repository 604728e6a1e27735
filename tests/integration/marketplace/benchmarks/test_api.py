"""Who measures what over the API, and who reads it."""

import time
from typing import Any

import pytest
from django.test import Client

from marketplace.accounts.services import api_key_create
from marketplace.benchmarks.models import Benchmark, Profile
from marketplace.benchmarks.runs.platform_account import bearer_issue
from marketplace.benchmarks.services import QUEUED_MAX, QUEUED_OF_ONE_MAX, profile_publish
from marketplace.catalog.models import Pool, Worker
from router.domain.keys import verify_session
from tests.integration.marketplace.benchmarks.asking import LATENCY, ask
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_staff_and_the_provider_measure_and_nobody_else(
    shop: Shop, staff: Client, stranger: Client
) -> None:
    assert ask(Client(), shop).status_code == 401
    assert ask(stranger, shop).status_code == 403
    assert ask(signed_in(shop.owner), shop).status_code == 403
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    assert ask(signed_in(shop.owner), shop).status_code == 201
    assert ask(signed_in(shop.owner), shop, target="route", deployment=None).status_code == 403
    assert ask(staff, shop).status_code == 201
    assert ask(staff, shop, target="route", deployment=None).status_code == 201
    assert set(Benchmark.objects.values_list("asked_by__email", flat=True)) == {
        "owner@example.com",
        "staff@example.com",
    }


def test_a_management_key_measures_what_its_organisation_offers(shop: Shop) -> None:
    _row, key = api_key_create(
        organisation=shop.organisation, name="m", scopes=["management"], created_by=shop.owner
    )
    client = Client(headers={"authorization": f"Bearer {key}"})
    assert ask(client, shop).status_code == 403
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    assert ask(client, shop).status_code == 201


def test_what_cannot_be_measured_is_refused_with_the_reason(shop: Shop, staff: Client) -> None:
    wrong = ask(staff, shop, settings={"loads": [2, 1]})
    assert (wrong.status_code, "must rise" in wrong.json()["detail"]) == (400, True)
    shop.worker.healthy = False
    shop.worker.save()
    gone = ask(staff, shop)
    assert (gone.status_code, "ready" in gone.json()["detail"]) == (400, True)


def test_a_provider_measures_neither_a_route_nor_anothers_worker_by_naming_its_own(
    shop: Shop, staff: Client
) -> None:
    shop.provider.organisation = shop.organisation
    shop.provider.save()
    owner = signed_in(shop.owner)
    # The deployment is its own, but what is measured is the platform's router.
    assert ask(owner, shop, target="route").status_code == 403
    elsewhere = Pool.objects.create(name="elsewhere", hardware="CPU", engine="any")
    Worker.objects.create(
        worker_id="theirs", pool=elsewhere, url="http://127.0.0.1:9", protocol="openai"
    )
    for client in (owner, staff):
        asked = ask(client, shop, target="worker", worker="theirs")
        assert (asked.status_code, "its deployment" in asked.json()["detail"]) == (400, True)
    assert not Benchmark.objects.exists()


@pytest.mark.parametrize("wrong", [[1], "fast", 3, {"seed": 10**400}, {"loads": [10**400]}])
def test_invalid_settings_are_refused_in_words(shop: Shop, staff: Client, wrong: Any) -> None:
    asked = ask(staff, shop, settings=wrong)
    assert asked.status_code == 400, asked.content
    assert asked.json()["errors"][0]["field"] == "settings"


def test_one_deployment_does_not_fill_the_queue(shop: Shop, staff: Client) -> None:
    for _ in range(QUEUED_OF_ONE_MAX):
        assert ask(staff, shop).status_code == 201
    assert "are queued" in ask(staff, shop).json()["detail"]
    assert ask(staff, shop, target="route", deployment=None).status_code == 201


def test_a_model_that_is_not_published_is_measured_out_of_sight(
    done: Benchmark, shop: Shop, staff: Client
) -> None:
    profile_publish(Profile.objects.create(deployment=shop.deployment, service_ms=5, source="x"))
    type(shop.model).objects.update(published=False)
    for client, seen in ((Client(), 0), (staff, 1)):
        assert len(client.get("/api/v1/benchmarks").json()["results"]) == seen
        assert len(client.get("/api/v1/profiles").json()["results"]) == seen
        assert client.get(f"/benchmarks/{done.pk}").status_code == (200 if seen else 404)


def test_the_queue_is_bounded(shop: Shop, staff: Client) -> None:
    Benchmark.objects.bulk_create(
        Benchmark(model=shop.model, target="route", scenario="offline") for _ in range(QUEUED_MAX)
    )
    assert "Too many" in ask(staff, shop).json()["detail"]


def test_everybody_reads_points_and_profiles(done: Benchmark, shop: Shop) -> None:
    listed = Client().get("/api/v1/benchmarks").json()["results"]
    assert [row["id"] for row in listed] == [done.pk]
    assert not {"asked_by", "heartbeat_at", "attempts"} & set(listed[0])
    found = Client().get(f"/api/v1/benchmarks/{done.pk}").json()
    assert [point["load"] for point in found["points"]] == [1, 4]
    assert found["points"][1]["latency"] == LATENCY
    profile_publish(Profile.objects.create(deployment=shop.deployment, service_ms=5, source="t"))
    (profile,) = Client().get("/api/v1/profiles").json()["results"]
    assert (profile["model"], profile["service_ms"]) == (shop.model.name, 5)


def test_cancelling_over_the_api(shop: Shop, staff: Client, stranger: Client) -> None:
    pk = ask(staff, shop).json()["id"]
    assert stranger.post(f"/api/v1/benchmarks/{pk}/cancel").status_code == 403
    assert staff.post(f"/api/v1/benchmarks/{pk}/cancel").json()["state"] == "cancelled"


def test_the_bearer_of_a_point_lives_as_long_as_the_point(shop: Shop, settings: Any) -> None:
    token = bearer_issue(reference="1:1:0", ttl_s=1_300)
    claims = verify_session(token, settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    assert claims.expires_at_s >= time.time() + 1_290
