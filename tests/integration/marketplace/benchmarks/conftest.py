"""Models on real workers, and tiny plans."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = {
    "samples_min": 20,
    "seconds_min": 0.4,
    "seconds_max": 5,
    "warm_up": 2,
    "prompt_tokens": 16,
    "completion_tokens": 4,
}


@pytest.fixture(autouse=True)
def _home(settings: Any, tmp_path: Path) -> None:
    settings.WAYPOST_HOME = tmp_path
    # The router that a developer may have running is none of ours.
    settings.ROUTER_ADMIN_TOKEN = ""


@pytest.fixture
def offered(committed_shop: Any) -> Callable[..., Any]:
    """Makes a model with a deployment on one worker; returns the deployment."""
    from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool, Worker
    from marketplace.catalog.services import offer_publish
    from router.domain.pricing import Price

    def make(
        name: str,
        task: str,
        *workers: tuple[str, str, str],
        slots: int = 4,
        upstream: str = "",
        emulated: bool = False,
        tensors: dict[str, Any] | None = None,
    ) -> Deployment:
        model = AIModel.objects.create(
            name=name, display_name=name, task=task, tensors=tensors or {}, emulated=emulated
        )
        version = ModelVersion.objects.create(model=model, version="1")
        pool = Pool.objects.create(
            name=f"pool-{workers[0][0]}", hardware="CPU", engine="any", emulated=emulated
        )
        for worker_id, url, protocol in workers:
            Worker.objects.create(
                worker_id=worker_id, pool=pool, url=url, protocol=protocol, slots=slots
            )
        deployment = Deployment.objects.create(
            version=version,
            provider=committed_shop.provider,
            pool=pool,
            upstream_model=upstream or name,
        )
        offer_publish(deployment=deployment, price=Price(id=0, request_nano=10))
        return deployment

    return make
