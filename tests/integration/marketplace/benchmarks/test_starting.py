"""From the queue to a process of its own, once."""

from __future__ import annotations

import pytest

from marketplace.benchmarks import starting
from marketplace.benchmarks.models import Benchmark
from marketplace.benchmarks.starting import START_PATIENCE, benchmarks_start
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids that processes were begun for; none of them ever says that it runs."""
    ids: list[int] = []
    monkeypatch.setattr(starting, "_start", ids.append)
    return ids


def test_a_process_that_is_slow_to_begin_is_not_begun_again(shop: Shop, begun: list[int]) -> None:
    queued = [
        Benchmark.objects.create(
            model=shop.model, target="deployment", deployment=shop.deployment, scenario="offline"
        )
        for _ in range(2)
    ]
    first = queued[0]
    assert benchmarks_start() == [first.pk]
    assert benchmarks_start() == []
    first.refresh_from_db()
    assert first.started_at is not None
    # It never came: another try, and not for the one that waits behind it.
    first.started_at -= 2 * START_PATIENCE
    first.save()
    assert benchmarks_start() == [first.pk]
    assert begun == [first.pk, first.pk]
