"""A member of the shop's organisation, and pages in English."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.utils import translation

if TYPE_CHECKING:
    from django.test import Client

    from tests.integration.marketplace.shop import Shop


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """A request leaves its language behind in the thread."""
    yield
    translation.activate("en")


@pytest.fixture
def member(shop: Shop) -> Client:
    from tests.integration.marketplace.shop import signed_in

    return signed_in(shop.owner)
