"""Models on real workers, tiny plans, and a benchmark that is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

if TYPE_CHECKING:
    from django.test import Client

    from marketplace.benchmarks.models import Benchmark
    from tests.integration.marketplace.shop import Shop

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


@pytest.fixture
def done(shop: Shop) -> Benchmark:
    """A benchmark that is over, with two points."""
    from marketplace.benchmarks.models import Point
    from marketplace.benchmarks.services import benchmark_request
    from marketplace.shared.jobs.models import JobState
    from tests.integration.marketplace.benchmarks.asking import LATENCY

    benchmark = benchmark_request(
        model=shop.model, target="deployment", deployment=shop.deployment, reason="a test"
    )
    benchmark.state, benchmark.ended_at = JobState.SUCCEEDED, timezone.now()
    benchmark.fingerprint = {"digest": "abc", "hardware": "CPU", "version": "1"}
    benchmark.raw_dir = f"benchmarks/{benchmark.pk}"
    benchmark.save()
    for load in (1, 4):
        Point.objects.create(
            benchmark=benchmark,
            load=load,
            samples=100,
            duration_s=5,
            throughput_hz=20 * load,
            goodput_hz=19 * load,
            latency=LATENCY,
            is_knee=load == 4,
        )
    return benchmark


@pytest.fixture
def stranger() -> Client:
    from marketplace.accounts.models import User
    from marketplace.accounts.services import organisation_create
    from tests.integration.marketplace.shop import signed_in

    user = User.objects.create_user("stranger@example.com")
    organisation_create(name="Other", slug="other", owner=user)
    return signed_in(user)
