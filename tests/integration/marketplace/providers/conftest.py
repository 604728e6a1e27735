"""An organisation that provides, and a draft that lacks nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.marketplace.providers.servers import fake_openai, whole_draft


@pytest.fixture
def _loopback(settings: Any) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def good_url() -> Iterator[str]:
    with fake_openai() as url:
        yield url


@pytest.fixture
def draft(shop: Any, _loopback: None, good_url: str) -> Callable[..., Any]:
    """Makes a whole draft of the shop's organisation; values replace its own."""
    from marketplace.providers.services import listing_create, provider_open

    provider = provider_open(organisation=shop.organisation, slug="harbour", name="Harbour")

    def make(**values: Any) -> Any:
        return listing_create(
            provider=provider,
            created_by=shop.owner,
            **{**whole_draft(good_url), **values},
        )

    return make
