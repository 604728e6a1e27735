"""What a draft must say."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from marketplace.providers.listings.states import ListingState
from marketplace.providers.models import ConformanceRun
from marketplace.providers.services import provider_open
from tests.integration.marketplace.providers.listings.moving import A, Draft, act, at, checked
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_model_of_another_provider_is_offered_too(draft: Draft, shop: Shop) -> None:
    listing = checked(draft, existing_model=shop.model, version="1", model_name="")
    assert listing.state == ListingState.CHECKED
    assert listing.deployment is not None
    assert listing.deployment.version == shop.deployment.version


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"model_name": "author/other"}, "model_name"),
        ({"model_name": ""}, "model_name"),
        ({"model_name": "harbour/Sea"}, "model_name"),
        ({"completion_tokens_max": 0}, "completion_tokens_max"),
        ({"version": ""}, "version"),
        ({"pool_name": "fast"}, "pool_name"),
        ({"hardware": ""}, "hardware"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [{"url": "http://x", "protocol": "smtp", "slots": 1}]}, "endpoints"),
        ({"endpoints": [{"url": "grpc://x", "protocol": "openai", "slots": 1}]}, "endpoints"),
        (
            {"endpoints": [at("http://10.0.0.1")]},
            "endpoints",
        ),
        (
            {"endpoints": [at("http://169.254.169.254")]},
            "endpoints",
        ),
        ({"upstream_model": ""}, "upstream_model"),
        ({"prompt_nano_per_million": 0, "completion_nano_per_million": 0}, "prices"),
        ({"tensors": {"inputs": [{"name": "x", "datatype": "FP9", "shape": [1]}]}}, "tensors"),
        ({"tensors": {"inputs": [{"name": "x"}]}}, "tensors"),
        ({"tensors": {"inputs": [{"name": "x", "datatype": [], "shape": [1]}]}}, "tensors"),
        ({"input_schema": {"properties": [1]}}, "input_schema"),
    ],
)
def test_what_a_draft_lacks_is_said_by_field(
    draft: Draft, values: dict[str, Any], field: str
) -> None:
    listing = draft(**values)
    with pytest.raises(ValidationError) as refused:
        act(listing, A.SUBMIT)
    assert set(refused.value.message_dict) == {field}
    assert not ConformanceRun.objects.exists()


def test_loopback_is_refused_where_the_installation_does_not_allow_it(
    draft: Draft, settings: Any
) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = []
    with pytest.raises(ValidationError, match="internal address"):
        act(draft(), A.SUBMIT)


def test_an_author_that_exists_is_nobodys_to_take(shop: Shop) -> None:
    with pytest.raises(ValidationError) as refused:
        provider_open(organisation=shop.organisation, slug="author", name="Me")
    assert "slug" in refused.value.message_dict
