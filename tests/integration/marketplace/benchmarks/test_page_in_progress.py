"""The page of a benchmark while it runs, and as it ends."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.services import benchmark_request
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture
def queued(shop: Shop) -> Benchmark:
    return benchmark_request(model=shop.model, target="deployment", deployment=shop.deployment)


def test_who_watches_a_benchmark_gets_its_curve_as_it_ends(queued: Benchmark) -> None:
    path, asked_by_a_part = f"/benchmarks/{queued.pk}", {"HX-Request": "true"}
    moving = Client().get(path, headers=asked_by_a_part)
    assert 'id="run"' in moving.text
    assert "hx-get" in moving.text
    queued.state = JobState.SUCCEEDED
    queued.save()
    ended = Client().get(path, headers=asked_by_a_part)
    assert (ended.headers["HX-Refresh"], ended.text) == ("true", "")
    assert 'id="run"' in Client().get(path).text
