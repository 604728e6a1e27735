"""An organisation that sells on its pool, and a gang of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rest_framework.test import APIClient

    from marketplace.catalog.models import Worker
    from marketplace.catalog.services import HealthReading
    from tests.integration.marketplace.shop import Shop


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    kept_shop.provider.organisation = kept_shop.organisation
    kept_shop.provider.save()
    return kept_shop


@pytest.fixture
def gang(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[APIClient]:
    """The agents of three ranks, all up; the worker itself always answers the prober."""
    from marketplace.catalog import tasks
    from marketplace.catalog.services import HealthReading
    from tests.integration.marketplace.agents.reporting import RANKS, beat, registered

    async def answers(workers: list[Worker]) -> list[HealthReading]:
        return [HealthReading(worker.pk) for worker in workers]

    monkeypatch.setattr(tasks, "probe", answers)
    agents = [registered(shop, f"gpu-{rank}") for rank in range(3)]
    for agent, report in zip(agents, RANKS, strict=True):
        assert beat(agent, report).status_code == 200
    return agents
