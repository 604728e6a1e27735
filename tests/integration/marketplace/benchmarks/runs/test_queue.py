"""Which benchmark runs next, in its own process, and which may measure."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Stage
from marketplace.benchmarks.runs import queue
from marketplace.benchmarks.runs.job import KIND
from marketplace.benchmarks.runs.queue import RUNS_MAX, place_of, turn_take
from marketplace.catalog.models import Deployment, Pool
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import LOST_AFTER, job_claim
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def benchmark(shop: Shop, **values: Any) -> Benchmark:
    return Benchmark.objects.create(
        model=shop.model,
        target="deployment",
        scenario="offline",
        settings={"loads": [1, 2], "seconds_min": 60, "seconds_max": 120},
        **{"deployment": shop.deployment, **values},
    )


def runs(shop: Shop, stage: str, pool: str = "", **values: Any) -> Benchmark:
    """A benchmark with a live process, on the shop's pool or on its own pool."""
    if pool:
        values["deployment"] = deployment_on(shop, pool)
    return benchmark(
        shop, state=JobState.RUNNING, stage=stage, heartbeat_at=timezone.now(), **values
    )


def deployment_on(shop: Shop, pool: str) -> Deployment:
    other = Pool.objects.create(name=pool, hardware="h", engine="e")
    return Deployment.objects.create(
        version=shop.deployment.version, provider=shop.provider, pool=other, upstream_model="m"
    )


def test_one_at_a_time_runs_on_a_pool(shop: Shop, settings: Any) -> None:
    settings.WAYPOST_BENCHMARKS_AT_ONCE = 9
    first, second = benchmark(shop), benchmark(shop)
    elsewhere = benchmark(shop, deployment=deployment_on(shop, "other"))
    assert job_claim(KIND) == first
    assert job_claim(KIND) == elsewhere
    assert job_claim(KIND) is None
    Benchmark.objects.filter(pk=first.pk).update(state=JobState.SUCCEEDED)
    assert job_claim(KIND) == second


def test_a_run_that_waits_for_idle_slots_holds_up_no_other_pool(shop: Shop) -> None:
    running = runs(shop, Stage.MEASURING.at(1, 7), "other")
    queued = benchmark(shop)
    assert job_claim(KIND) is None
    running.stage = Stage.WAITING.at(2)
    running.save()
    assert job_claim(KIND) == queued


def test_waiting_runs_are_bounded_too(shop: Shop) -> None:
    for number in range(RUNS_MAX):
        runs(shop, Stage.WAITING.at(1), f"pool-{number}")
    benchmark(shop)
    assert job_claim(KIND) is None


def test_the_next_is_chosen_of_the_oldest(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "CHOSEN_FROM_MAX", 1)
    runs(shop, Stage.WAITING.at(1))
    benchmark(shop)
    benchmark(shop, deployment=deployment_on(shop, "other"))
    assert job_claim(KIND) is None


def test_no_two_measure_at_once(shop: Shop) -> None:
    first = runs(shop, Stage.WAITING.at(1))
    second = runs(shop, Stage.WAITING.at(1), "other")
    assert turn_take(first, 1)
    assert not turn_take(second, 1)
    # Between its points the first one keeps its turn; once it waits, it is the second's.
    assert turn_take(first, 2)
    first.stage = Stage.WAITING.at(2)
    first.save()
    assert turn_take(second, 1)


def test_a_run_that_died_while_it_measured_keeps_neither_turn_nor_pool(shop: Shop) -> None:
    died = runs(shop, Stage.MEASURING.at(1))
    queued = benchmark(shop)
    assert job_claim(KIND) is None
    died.heartbeat_at = timezone.now() - LOST_AFTER - timedelta(seconds=1)
    died.save()
    assert job_claim(KIND) == queued
    assert turn_take(queued, 1)


def test_the_place_in_the_queue_and_how_long_it_takes(shop: Shop) -> None:
    runs(shop, Stage.MEASURING.at(1), progress=0.5)
    runs(shop, Stage.WAITING.at(1))
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
