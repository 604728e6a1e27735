"""One shop for all tests of a file, a caller of it, and a router that answers as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.marketplace.predictions.asking import Api
    from tests.integration.marketplace.predictions.routers import FakeRouter
    from tests.integration.marketplace.shop import Shop


@pytest.fixture(scope="module")
def shop(opened_shop: Shop) -> Shop:
    return opened_shop


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    from tests.integration.marketplace.predictions.routers import fake_router

    with fake_router() as found:
        yield found


@pytest.fixture
def api(shop: Shop, db: None) -> Api:
    from tests.integration.marketplace.predictions.asking import Api

    return Api(shop.organisation)
