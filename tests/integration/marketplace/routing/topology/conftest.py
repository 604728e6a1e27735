"""Pages in English, and routers that say what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from django.utils import translation

if TYPE_CHECKING:
    from marketplace.routing.topology.contracts import RouterState
    from tests.integration.marketplace.routing.topology.hearing import Routers


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.activate("en")


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Routers]:
    from marketplace.routing.topology import selectors
    from tests.integration.marketplace.routing.topology.hearing import Routers

    def put(**states: RouterState | str) -> Routers:
        routers = Routers(**states)
        monkeypatch.setattr(selectors, "WATCH", routers.watch)
        return routers

    return put
