"""Percentiles out of histograms."""

import math

from hypothesis import given
from hypothesis import strategies as st

from marketplace.usage.rollups.latency import BUCKETS_PER_OCTAVE, percentile

WIDTH = 2 ** (1 / BUCKETS_PER_OCTAVE)


def bucket(ms: float) -> int:
    return math.floor(math.log2(ms) * BUCKETS_PER_OCTAVE)


@given(
    latencies=st.lists(st.floats(1, 900_000), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
)
def test_a_percentile_is_right_to_within_a_bucket(latencies: list[float], share: float) -> None:
    histogram: dict[int, int] = {}
    for ms in latencies:
        histogram[bucket(ms)] = histogram.get(bucket(ms), 0) + 1
    exact = sorted(latencies)[max(math.ceil(share * len(latencies)) - 1, 0)]
    found = percentile(histogram, share)
    assert found is not None
    assert exact / WIDTH * 0.999 <= found <= exact * WIDTH * 1.001


def test_without_calls_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None
