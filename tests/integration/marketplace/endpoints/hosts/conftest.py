"""An endpoint on an organisation's own hosts, servers that answer, and somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from marketplace.accounts.models import User
    from marketplace.catalog.services import HealthReading
    from marketplace.endpoints.models import OwnEndpoint, OwnWorker
    from tests.integration.marketplace.shop import Shop


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


@pytest.fixture(autouse=True)
def networks(settings: Any) -> Any:
    settings.WAYPOST_ENDPOINT_NETWORKS = []
    return settings


@pytest.fixture
def endpoint(shop: Shop) -> OwnEndpoint:
    from marketplace.endpoints.services import own_endpoint_list
    from tests.integration.marketplace.endpoints.hosts.reporting import KEY

    return own_endpoint_list(
        organisation=shop.organisation,
        slug="llama",
        task="chat",
        hosted=True,
        key=KEY,
        upstream_model="llama",
        stands_for=shop.model,
    )


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server answers the prober."""
    from marketplace.catalog.services import HealthReading
    from marketplace.endpoints import tasks

    async def up(servers: list[OwnWorker], *_: object) -> list[HealthReading]:
        return [HealthReading(server.pk) for server in servers]

    monkeypatch.setattr(tasks, "probe", up)


@pytest.fixture
def stranger() -> User:
    from marketplace.accounts.models import User
    from marketplace.accounts.services import organisation_create

    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Rival", slug="rival", owner=user)
    return user
