"""Percentiles out of the histograms of rollups."""

from collections.abc import Mapping

BUCKETS_PER_OCTAVE = 2
"""Bucket i holds 2^(i/2) ms up to 2^((i+1)/2) ms, as ``usage_bucket`` in ``sql/rollups.sql``."""

Histogram = Mapping[int, int]
"""Calls by bucket."""


def percentile(histogram: Histogram, share: float) -> float | None:
    """The latency in ms that this share of the calls stays below; None without calls.

    Within a bucket calls are taken as spread evenly over the logarithm, so that the result is off
    by less than the width of a bucket, a factor of √2.
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
