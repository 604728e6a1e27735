"""Percentiles from the histograms of rollups."""

from collections.abc import Mapping

BUCKETS_PER_OCTAVE = 2
"""Bucket i holds 2^(i/2) ms up to 2^((i+1)/2) ms, as ``usage_bucket`` in ``sql/rollups.sql``."""

Histogram = Mapping[int, int]
"""Calls by bucket."""


def percentile(histogram: Histogram, share: float) -> float | None:
    """The latency in ms at this quantile (0 to 1); None without calls.

    Calls are assumed to be spread evenly over the logarithm within a bucket, so the error is less
    than the width of a bucket, a factor of √2.
    """
    wanted = share * sum(histogram.values())
    passed = 0
    for bucket in sorted(histogram):
        calls = histogram[bucket]
        if calls and passed + calls >= wanted:
            inside = max(wanted - passed, 0) / calls
            return float(2 ** ((bucket + inside) / BUCKETS_PER_OCTAVE))
        passed += calls
    return None
