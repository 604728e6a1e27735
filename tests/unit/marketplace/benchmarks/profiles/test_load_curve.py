"""What samples say of a point, and points of a profile."""

import pytest

from marketplace.benchmarks.loadgen.messages import Measured
from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.samples import Sample
from marketplace.benchmarks.profiles.load_curve import PointFigures, knee_of, point_of, profile_of

VALID = Measured(valid=True)


def point(
    load: float, mean_ms: float, rate_hz: float, samples: int = 100, within: float = 1.0
) -> PointFigures:
    total = {name: [mean_ms, mean_ms, mean_ms] for name in ("mean", "p50", "p90", "p99")}
    return PointFigures(
        load, samples, 0, 5, rate_hz, rate_hz, 0, {"total_ms": total}, True, "", within
    )


def points_of(load_ms: dict[int, float]) -> list[PointFigures]:
    return [point(n, ms, n / ms * 1e3) for n, ms in load_ms.items()]


def test_a_point_counts_what_met_the_slo_and_what_failed() -> None:
    plan = plan_of("chat", {"slo_ms": 100, "ttft_slo_ms": 50, "samples_min": 4})
    samples = [
        Sample(0.0, 90, 10, 9),
        Sample(0.1, 90, 60, 9),
        Sample(0.2, 120, 10, 9),
        Sample(0.3, 50, error="HTTP 500"),
        Sample(0.91, 90, 10, 9),
    ]
    found = point_of(plan, 2, samples, VALID)
    assert (found.samples, found.errors, found.valid) == (4, 1, False)
    assert found.invalid_because == "1 requests failed"
    assert found.duration_s == 1
    assert (found.throughput_hz, found.goodput_hz, found.tokens_per_s) == (4, 2, 36)
    assert found.latency["tpot_ms"]["p50"][0] == 10
    assert not found.is_sound


def test_a_chat_whose_first_tokens_are_late_has_no_capacity() -> None:
    plan = plan_of("chat", {"slo_ms": 1_000, "ttft_slo_ms": 50, "tpot_slo_ms": 0})
    late = [Sample(n / 10, 500, 60, 9) for n in range(30)]
    in_time = [Sample(n / 10, 500, 40, 9) for n in range(30)]
    for samples, capacity in ((late, 0.0), (in_time, 30 / 3.4)):
        found = profile_of(plan, [point_of(plan, 1, samples, VALID)], workers=1, slots=1)
        assert found is not None
        assert found.capacity_hz == pytest.approx(capacity, rel=1e-3)


def test_a_point_without_an_answer_is_not_valid() -> None:
    found = point_of(plan_of("tabular", {}), 1, [Sample(0, 5, error="refused")], VALID)
    assert not found.valid
    assert found.latency == {}
    assert knee_of([found]) is None


def test_a_profile_of_a_worker_with_four_slots() -> None:
    plan = plan_of("tabular", {"slo_ms": 25})
    points = [*points_of({1: 10, 2: 11, 4: 12, 8: 24}), point(16, 48, 333, within=0.5)]
    found = profile_of(plan, points, workers=1, slots=4)
    assert found is not None
    assert found.service_ms == 10
    # Beyond its slots it queues: no part of the batch curve.
    assert found.batch_curve == [[1, 1.0], [2, 1.1], [4, 1.2]]
    assert found.slots == 4
    assert found.capacity_hz == pytest.approx(8 / 24 * 1e3, rel=1e-3)


def test_a_profile_is_of_one_of_several_workers() -> None:
    points = points_of({2: 10, 4: 11})
    found = profile_of(plan_of("tabular", {}), points, workers=2, slots=4)
    assert found is not None
    assert found.batch_curve == [[1, 1.0], [2, 1.1]]
    assert found.throughput_hz == pytest.approx(4 / 11 * 1e3 / 2, rel=1e-3)


def test_fewer_requests_than_workers_keep_only_so_many_of_them_busy() -> None:
    points = points_of({1: 100, 2: 100, 4: 100, 8: 100})
    found = profile_of(plan_of("vision", {}), points, workers=16, slots=4)
    assert found is not None
    assert (found.throughput_hz, found.capacity_hz) == (10, 10)


def test_rates_and_too_few_samples_make_no_profile() -> None:
    server = plan_of("tabular", {"scenario": "server"})
    assert profile_of(server, points_of({1: 10}), workers=1, slots=4) is None
    beyond = points_of({8: 40})
    assert profile_of(plan_of("tabular", {}), beyond, workers=1, slots=4) is None
    few = [point(1, 10, 100, samples=19)]
    assert profile_of(plan_of("tabular", {}), few, workers=1, slots=4) is None
