"""An organisation that provides, and a draft that lacks nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.marketplace.providers.servers import MODEL, fake_openai


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
            **{
                "model_name": "harbour/sea-1",
                "display_name": "Sea 1",
                "task": "chat",
                "description": "Words about the sea.",
                "license": "Apache-2.0",
                "context_tokens_max": 2048,
                "completion_tokens_max": 512,
                "version": "1",
                "pool_name": "harbour-cpu",
                "hardware": "CPU",
                "engine": "fake",
                "region": "local",
                "endpoints": [{"url": good_url, "protocol": "openai", "slots": 1}],
                "upstream_model": MODEL,
                "supported_parameters": ["stop"],
                "prompt_nano_per_million": 30_000_000,
                "completion_nano_per_million": 60_000_000,
                **values,
            },
        )

    return make
