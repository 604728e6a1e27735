"""A slot that is kept free for a run that found none idle: one a worker, for a bounded time."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.models import Benchmark, Profile
from marketplace.benchmarks.runs import measuring
from marketplace.benchmarks.runs.idle_slots import Traffic
from marketplace.benchmarks.runs.job import benchmark_run
from marketplace.benchmarks.runs.queue import runs_measuring
from marketplace.benchmarks.runs.reserved_slot import reservable, slot_reserved
from marketplace.catalog.models import Worker
from marketplace.routing.models import SnapshotRow
from marketplace.shared.jobs import services
from marketplace.shared.jobs.models import JobState
from tests.integration.marketplace.benchmarks.runs.test_measuring import (
    emulated_chat,
    idle,
    request,
)

SLOTS = 4


def told(worker: Worker) -> tuple[int, int]:
    """The slots of a worker that routers know of, and those that are reserved."""
    snapshot = SnapshotRow.objects.first()
    assert snapshot is not None
    (one,) = [row for row in snapshot.body["workers"] if row["id"] == worker.worker_id]
    return one["slots"], one["reserved"]


@pytest.fixture
def deployment(offered: Callable[..., Any], emulator_url: str) -> Any:
    return emulated_chat(offered, emulator_url)


@pytest.fixture
def worker(deployment: Any) -> Worker:
    return Worker.objects.get(pool=deployment.pool)


@pytest.fixture(autouse=True)
def soon(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WAYPOST_BENCHMARK_RESERVE_AFTER_S = 1
    monkeypatch.setattr(measuring, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(services, "PROGRESS_EVERY_S", 0.0)
    monkeypatch.setattr(measuring, "WAIT_S_MAX", 2.0)


def busy(worker: Worker) -> Callable[[Any, int], Traffic]:
    """Calls wait all the time; routers use the slots that they know of."""
    return lambda _workers, _own: Traffic(in_flight=told(worker)[0], waiting=9)


def test_a_worker_keeps_one_slot_free_at_a_time(worker: Worker) -> None:
    with slot_reserved(worker) as first:
        assert first
        assert told(worker) == (SLOTS - 1, 1)
        with slot_reserved(worker) as second:
            assert not second
        assert told(worker) == (SLOTS - 1, 1)
    assert told(worker) == (SLOTS, 0)
    with slot_reserved(worker) as again:
        assert again


def test_a_run_that_finds_no_idle_slot_is_measured_on_one_that_is_kept_free(
    deployment: Any, worker: Worker
) -> None:
    seen: list[tuple[str, tuple[int, int]]] = []
    benchmark = benchmark_run(
        request(deployment, loads=[1]),
        watch=lambda row: seen.append((row.stage.partition("|")[0], told(worker))),
        read_traffic=busy(worker),
    )
    assert (benchmark.state, benchmark.error) == (JobState.SUCCEEDED, "")
    assert ("waiting", (SLOTS, 0)) in seen
    measured = {slots for stage, slots in seen if stage in {"warming", "measuring"}}
    assert measured == {(SLOTS - 1, 1)}
    assert told(worker) == (SLOTS, 0), "given back"
    assert Profile.objects.get(benchmark=benchmark).service_ms > 0


def test_a_slot_that_does_not_come_free_is_given_back_in_time(
    deployment: Any, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RESERVED_S_MAX", 0.3)
    seen: set[tuple[str, tuple[int, int]]] = set()

    def watch(row: Benchmark) -> None:
        seen.add((row.stage.partition("|")[0], told(worker)))
        assert row.pk not in runs_measuring().values_list("pk", flat=True)

    benchmark = benchmark_run(
        request(deployment, loads=[1]),
        watch=watch,
        read_traffic=lambda _workers, _own: Traffic(in_flight=SLOTS, waiting=9),
    )
    assert benchmark.state == JobState.FAILED
    assert "no idle slots" in benchmark.error
    assert seen == {("waiting", (SLOTS, 0)), ("reserved", (SLOTS - 1, 1))}
    assert told(worker) == (SLOTS, 0)


def test_a_measurement_that_takes_longer_than_the_slot_is_kept_gives_it_back(
    deployment: Any, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "RESERVED_S_MAX", 2.0)
    benchmark = benchmark_run(
        request(deployment, loads=[1], seconds_min=30, seconds_max=60), read_traffic=busy(worker)
    )
    assert benchmark.state == JobState.FAILED
    assert told(worker) == (SLOTS, 0)


def test_what_was_measured_is_a_first_profile_where_more_slots_never_come(
    deployment: Any, worker: Worker
) -> None:
    benchmark = benchmark_run(request(deployment, loads=[1, 2]), read_traffic=busy(worker))
    assert benchmark.state == JobState.SUCCEEDED
    assert benchmark.error.startswith("not measured from load 2 on")
    profile = Profile.objects.get(benchmark=benchmark)
    assert [n for n, _factor in profile.batch_curve] == [1]
    again = benchmark_run(request(deployment, loads=[1, 2]), read_traffic=busy(worker))
    assert again.state == JobState.FAILED, "a whole curve is not replaced by a part"
    assert Profile.objects.count() == 1


def test_with_idle_slots_or_without_the_setting_nothing_is_kept_free(
    deployment: Any, worker: Worker, settings: Any
) -> None:
    before = SnapshotRow.objects.filter(body__workers__contains=[{"reserved": 1}]).count()
    assert (
        benchmark_run(request(deployment, loads=[1]), read_traffic=idle).state == JobState.SUCCEEDED
    )
    settings.WAYPOST_BENCHMARK_RESERVE_AFTER_S = 0
    assert (
        benchmark_run(request(deployment, loads=[1]), read_traffic=busy(worker)).state == "failed"
    )
    after = SnapshotRow.objects.filter(body__workers__contains=[{"reserved": 1}]).count()
    assert (before, after) == (0, 0), json.dumps(SnapshotRow.objects.first().body["workers"])


def test_only_one_request_at_a_time_is_given_a_slot_and_never_the_only_one(
    deployment: Any, worker: Worker
) -> None:
    single = Worker(worker_id="w", pool=worker.pool, slots=1)
    benchmark = request(deployment, loads=[1, 2])
    plan = plan_of("chat", {})
    assert reservable(benchmark, plan, 1, [single]) is None
    assert reservable(benchmark, plan, 1, [single, worker]) == worker
    assert reservable(benchmark, plan, 2, [worker]) is None
    assert reservable(benchmark, plan_of("chat", {"scenario": "server"}), 1, [worker]) is None
    benchmark.target = "route"
    assert reservable(benchmark, plan, 1, [worker]) is None
