"""What a provider publishes that is badly formed is refused with words."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from marketplace.accounts.models import User
from marketplace.accounts.services import organisation_create
from marketplace.catalog.shapes import INPUT_VALUES_MAX
from marketplace.pipelines.models import Pipeline
from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import FAIL, Finding, Target
from marketplace.providers.listings.checking import listing_check
from marketplace.providers.listings.drafts import PRICE_NANO_MAX
from marketplace.providers.listings.states import ListingAction
from marketplace.providers.models import ConformanceResult, ConformanceRun, Listing
from marketplace.providers.services import provider_open
from marketplace.shared.jobs.kinds import job_kinds
from marketplace.shared.jobs.services import Run, job_claim
from tests.integration.marketplace.providers.listings.moving import act, checked
from tests.integration.marketplace.shop import Shop, signed_in

pytestmark = pytest.mark.usefixtures("kept_shop")

A = ListingAction
Draft = Callable[..., Listing]


def tensor(**values: Any) -> dict[str, Any]:
    return {"name": "X", "datatype": "FP32", "shape": [-1, 8], **values}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"input_schema": {"properties": []}}, "input_schema"),
        ({"input_schema": {"properties": {"X": {"items": {"prefixItems": 5}}}}}, "input_schema"),
        ({"input_schema": {"$ref": "http://10.0.0.1/schema"}}, "input_schema"),
        ({"tensors": {"inputs": [tensor(datatype=["FP32"])]}}, "tensors"),
        ({"tensors": {"inputs": [tensor(name='X", [1]); import os #')]}}, "tensors"),
        ({"tensors": {"inputs": [tensor(), tensor()]}}, "tensors"),
        ({"tensors": {"inputs": [tensor(shape=[-1, INPUT_VALUES_MAX + 1])]}}, "tensors"),
        ({"tensors": {"outputs": [tensor(shape=[-1, 10**30])]}}, "tensors"),
        ({"request_nano": PRICE_NANO_MAX + 1}, "prices"),
    ],
)
def test_what_is_badly_formed_is_said_by_field(
    draft: Draft, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        act(draft(**values), A.SUBMIT)
    assert set(refused.value.message_dict) == {field}


@pytest.mark.parametrize(
    "text", ['{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a": NaN}', '{"a": 1e999}', "[" * 9_999, "x"]
)
def test_json_that_no_table_keeps_is_refused_by_the_form(
    draft: Draft, shop: Shop, text: str
) -> None:
    listing = draft()
    fields = {
        "endpoints-TOTAL_FORMS": "0",
        "endpoints-INITIAL_FORMS": "0",
        "model_name": "harbour/sea-9",
        "input_schema": text,
        "save": "",
    }
    refused = signed_in(shop.owner).post(f"/provide/listings/{listing.pk}/edit", fields)
    assert refused.status_code == 422
    listing.refresh_from_db()
    assert listing.model_name == "harbour/sea-1"


def test_findings_keep_what_a_table_can_of_what_a_server_says(draft: Draft) -> None:
    act(draft(), A.SUBMIT)
    row = job_claim(job_kinds[ConformanceRun])
    said = {"known": "a\0b\ud800", "prompt": float("nan"), "total": "x" * 9_000, "tokens": 7}

    def check(targets: list[Target], *_: Any, tell: Any, **__: Any) -> None:
        tell(targets[0], Finding(Check.USAGE, FAIL, "usage_wrong", said))

    listing_check(Run(job_kinds[ConformanceRun], row), check=check)
    kept = ConformanceResult.objects.get().params
    assert (kept["known"], kept["prompt"], kept["tokens"]) == ("ab?", "nan", 7)
    assert len(kept["total"]) < 1_000


@pytest.mark.parametrize("slug", ["Quay", "-quay", "rival", "tides"])
def test_a_slug_is_one_that_models_can_be_named_by_and_nobody_elses(shop: Shop, slug: str) -> None:
    """Organisations' own pipelines begin with their slug, everybody's with any."""
    rival = User.objects.create_user("rival@example.com")
    organisation_create(name="Rival", slug="rival", owner=rival)
    Pipeline.objects.create(name="tides/note", version=1, definition_text="{}")
    with pytest.raises(ValidationError) as refused:
        provider_open(organisation=shop.organisation, slug=slug, name="Me")
    assert set(refused.value.message_dict) == {"slug"}
    assert provider_open(organisation=shop.organisation, slug=shop.organisation.slug, name="We")


def test_a_price_that_is_no_number_is_not_found(draft: Draft, shop: Shop) -> None:
    deployment = checked(draft).deployment
    assert deployment is not None
    path = f"/provide/deployments/{deployment.pk}/price/withdraw"
    for asked in ("9" * 5_000, "9" * 30, "x"):
        assert signed_in(shop.owner).post(path, {"offer": asked}).status_code == 404
