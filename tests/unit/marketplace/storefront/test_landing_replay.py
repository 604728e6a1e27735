"""What the landing page draws of a replay."""

import math

import msgspec
import pytest

from marketplace.storefront.landing.chart import HEIGHT, WIDTH, chart_of, rounded_up
from marketplace.storefront.landing.replay import STEPS, Replay, Source, line_of, trace_replayed

NEVER = float("nan")


@pytest.fixture(scope="module")
def trace() -> Replay:
    return trace_replayed()


def test_a_line_leaves_out_the_warm_up_and_calls_that_failed() -> None:
    at_s = [float(n) for n in range(10)]
    line = line_of(at_s, [9.0, 0.1, NEVER, *[0.1] * 7])
    assert (line.mean_ms, line.p50_ms, line.p95_ms) == pytest.approx((100, 100, 100))
    assert line.means_ms == pytest.approx([100] * STEPS)


def test_a_step_without_arrivals_is_as_the_one_before() -> None:
    line = line_of([0.0, 1.0, 2.0], [0.1, 0.2, 0.4])
    assert line.means_ms[: STEPS // 2] == pytest.approx([100] * (STEPS // 2))
    assert line.means_ms[-1] == pytest.approx(400)


def test_a_run_that_answered_nothing_is_no_line() -> None:
    with pytest.raises(ValueError, match="no call was answered"):
        line_of([0.0, 1.0], [NEVER, NEVER])


def test_the_trace_is_one_that_round_robin_can_bear_and_we_are_faster(trace: Replay) -> None:
    """A line that climbs without end would say nothing but that a machine is overloaded."""
    first, last = (
        sum(trace.round_robin.means_ms[part]) for part in (slice(0, 12), slice(-12, None))
    )
    assert last < 1.5 * first
    assert 0.5 < trace.gain < 0.9
    assert trace.source == Source.TRACE


def test_a_replay_is_kept_as_json(trace: Replay) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(trace))
    assert msgspec.convert(kept, Replay) == trace


def test_the_chart_stays_in_its_picture_and_begins_at_zero(trace: Replay) -> None:
    chart = chart_of(trace)
    points = chart.between.removeprefix("M").removesuffix("Z").split("L")
    assert len(points) == 2 * STEPS
    for x, y in (map(float, point.split()) for point in points):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert chart.top_ms >= max(trace.round_robin.means_ms)


@pytest.mark.parametrize(
    ("value", "top"), [(1.0, 1), (1.1, 2), (230.0, 300), (500.0, 500), (0.035, 0.04), (999.0, 1000)]
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert math.isclose(rounded_up(value), top)
