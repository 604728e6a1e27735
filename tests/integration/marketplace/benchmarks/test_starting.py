"""From the queue to a process of its own, once."""

from __future__ import annotations

import pytest
from django.test import Client

from marketplace.benchmarks import starting
from marketplace.benchmarks.locks import pools_held
from marketplace.benchmarks.models import Benchmark, Stage
from marketplace.benchmarks.starting import PROCESSES_MAX, START_PATIENCE, benchmarks_start
from marketplace.benchmarks.turns import place_of, turn_take
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(kept_shop: Shop) -> Shop:
    return kept_shop


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


def benchmark(shop: Shop, **values: object) -> Benchmark:
    return Benchmark.objects.create(
        model=shop.model,
        target="deployment",
        deployment=shop.deployment,
        scenario="offline",
        settings={"loads": [1, 2], "seconds_min": 60, "seconds_max": 120},
        **values,
    )


def test_a_run_that_waits_for_idle_slots_holds_up_nobody(shop: Shop, begun: list[int]) -> None:
    running = benchmark(shop, state="running", stage=Stage.MEASURING.at(1, 7))
    queued = benchmark(shop)
    assert benchmarks_start() == []
    running.stage = Stage.WAITING.at(2)
    running.save()
    assert benchmarks_start() == [queued.pk]


def test_waiting_runs_are_bounded_too(shop: Shop, begun: list[int]) -> None:
    for _ in range(PROCESSES_MAX):
        benchmark(shop, state="running", stage=Stage.WAITING.at(1))
    benchmark(shop)
    assert benchmarks_start() == []


def test_no_two_measure_at_once(shop: Shop) -> None:
    first = benchmark(shop, state="running", stage=Stage.WAITING.at(1))
    second = benchmark(shop, state="running", stage=Stage.WAITING.at(1))
    with pools_held([shop.deployment.pool_id]):
        assert turn_take(first, 1)
        assert not turn_take(second, 1)
        # Between its points the first one keeps its turn; once it waits, it is the second's.
        assert turn_take(first, 2)
        first.stage = Stage.WAITING.at(2)
        first.save()
        assert turn_take(second, 1)


def test_a_run_that_died_while_it_measured_keeps_no_turn(shop: Shop) -> None:
    benchmark(shop, state="running", stage=Stage.MEASURING.at(1))
    assert turn_take(benchmark(shop, state="running"), 1)


def test_the_place_in_the_queue_and_how_long_it_takes(shop: Shop) -> None:
    benchmark(shop, state="running", stage=Stage.MEASURING.at(1), progress=0.5)
    benchmark(shop, state="running", stage=Stage.WAITING.at(1))
    first, second = benchmark(shop), benchmark(shop)
    place = place_of(first)
    assert place is not None
    assert (place.ahead, place.minutes) == (1, 1)
    place = place_of(second)
    assert place is not None
    assert (place.ahead, place.minutes) == (2, 3)
    text = Client().get(f"/benchmarks/{second.pk}").content.decode()
    assert "2 are ahead; they take 3 minutes at least" in text
    second.state = "done"
    assert place_of(second) is None
