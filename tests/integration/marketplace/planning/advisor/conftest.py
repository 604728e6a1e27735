"""A pool that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.marketplace.shop import Shop


@pytest.fixture
def yard(shop: Shop) -> Shop:
    """The shop with a priced pool that was measured."""
    from tests.integration.marketplace.planning.advisor.yards import profile_of

    pool = shop.deployment.pool
    pool.cost_nano_per_hour, pool.region = 500_000_000, "lisbon"
    pool.save()
    profile_of(shop.deployment, samples=2_000)
    return shop
