"""Which model and which version a prediction is of."""

from typing import Any

import pytest

from marketplace.catalog.models import Deployment, DeploymentStatus, ModelVersion
from marketplace.catalog.services import provider_create
from marketplace.presets.selectors import presets_of
from marketplace.presets.services import preset_retire, preset_save
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of, run_one
from tests.integration.marketplace.predictions.routers import FakeRouter
from tests.integration.marketplace.shop import Shop


def preset(shop: Shop, **says: Any) -> None:
    preset_save(organisation=shop.organisation, name="brief", **says)


@pytest.mark.parametrize("name", ["auto", "author/slug:floor", "author/slug@preset/brief"])
def test_a_name_that_stands_for_a_model_is_given_to_the_router(
    shop: Shop, api: Api, router: FakeRouter, name: str
) -> None:
    preset(shop, system="Be brief.")
    begun = api.ask(model=name).json()
    assert (begun["model"], begun["version"]) == (name, "")
    run_one()
    ended = api("GET", begun["id"]).json()
    assert ended["status"] == "succeeded", ended["error"]
    ((_headers, body),) = router.calls
    assert body["model"] == name
    listed = api("GET").json()["results"]
    assert [row["model"] for row in listed] == [name]


def test_a_preset_that_nobody_has_is_told_when_it_is_asked_and_when_it_is_called(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    asked = {"model": "@preset/brief"}
    error = error_of(api.ask(**asked), 404)
    assert (error["code"], error["param"]) == ("preset_not_found", "model")
    preset(shop, system="Be brief.")
    assert error_of(api.ask(**asked), 422)["code"] == "invalid_model"
    preset(shop, model="author/slug")
    uid = api.ask(**asked).json()["id"]
    preset_retire(preset=presets_of(shop.organisation.pk)["brief"])
    run_one()
    ended = api("GET", uid).json()
    assert (ended["status"], router.calls) == ("failed", [])
    assert "has no preset 'brief'" in ended["error"]
    error = error_of(api.ask(model="auto", version="auto/x:2"), 422)
    assert error["param"] == "version"


@pytest.mark.parametrize(
    ("version", "model"), [("author/slug:1", ""), ("1", "author/slug"), ("author/slug", "")]
)
def test_a_version_names_its_model_or_stands_beside_it(api: Api, version: str, model: str) -> None:
    body = {"version": version, "input": CHAT} | ({"model": model} if model else {})
    assert api("POST", body=body).json()["version"] == "1"


def served(shop: Shop, version: str) -> Deployment:
    """The model in another version, of another provider."""
    return Deployment.objects.create(
        version=ModelVersion.objects.create(model=shop.model, version=version),
        provider=provider_create(slug=f"of-{version}", name=f"Of {version}"),
        pool=shop.deployment.pool,
        upstream_model="slug",
    )


@pytest.mark.parametrize("wishes", [{}, {"version": "1"}])
def test_a_version_that_comes_later_fails_none_that_waits(
    shop: Shop, api: Api, router: FakeRouter, wishes: dict[str, str]
) -> None:
    asked = api.ask(**wishes).json()
    served(shop, "2")
    run_one()
    ended = api("GET", asked["id"]).json()
    assert (ended["status"], ended["version"]) == ("succeeded", "1"), ended["error"]


def test_one_that_asked_for_no_version_is_answered_by_whichever_is_left(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    uid = api.ask().json()["id"]
    served(shop, "2")
    Deployment.objects.filter(version__version="1").update(status=DeploymentStatus.RETIRED)
    run_one()
    assert api("GET", uid).json()["status"] == "succeeded"


def test_a_version_that_was_asked_for_and_is_gone_is_told(
    shop: Shop, api: Api, router: FakeRouter
) -> None:
    uid = api.ask(version="1").json()["id"]
    served(shop, "2")
    Deployment.objects.filter(version__version="1").update(status=DeploymentStatus.RETIRED)
    run_one()
    ended = api("GET", uid).json()
    assert ended["status"] == "failed"
    assert ended["error"] == "Version 1 is not served any more, only 2."
    assert not router.calls
    assert error_of(api.ask(version="1"), 404)["param"] == "version"


def test_each_version_that_is_served_may_be_asked_for(shop: Shop, api: Api) -> None:
    served(shop, "2")
    assert api.ask().json()["version"] == "2"
    for version in ("1", "2"):
        assert api.ask(version=version).json()["version"] == version
