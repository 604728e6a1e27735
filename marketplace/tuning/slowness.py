"""Is a worker slower than its pool? A robust ratio of service times with its interval.

The median of all ratios between a call of the worker and one of its peers (Hodges and Lehmann
1963), between bounds from the order of those ratios by the Mann-Whitney distribution: nothing is
assumed of service times, and a few odd calls move nothing.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

STRAYS_ABOVE = 1.5
"""A worker strays when it is slower than this for sure, ..."""
BACK_BELOW = 1.25
"""... and is back with its pool when it is estimated below this, or its interval reaches 1."""
LEVEL = 0.001
SAMPLES_MIN = 6
POOL_SAMPLES_MIN = 20
SAMPLES_MAX = 300
"""Newest calls compared, of the worker and of its peers each."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Service time of a worker over its peers'."""

    ratio: float
    low: float
    high: float
    samples: int
    pool_samples: int

    @property
    def strays(self) -> bool:
        return self.low > STRAYS_ABOVE

    @property
    def is_back(self) -> bool:
        return self.ratio < BACK_BELOW or self.low < 1


EXPECTED_ABOVE = 2.0
"""A worker strays, too, when the router expects it to take this many times its peers' time, ..."""
DECISIONS_MIN = 20
"""... in the mean of so many decisions: who is avoided has few calls that could be compared."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the router expects of a worker over the median of its peers, for the same calls."""

    ratio: float
    decisions: int

    @property
    def strays(self) -> bool:
        return self.ratio > EXPECTED_ABOVE and self.decisions >= DECISIONS_MIN

    @property
    def is_back(self) -> bool:
        return self.ratio < BACK_BELOW


def expectations(by_worker: Mapping[str, tuple[float, int]]) -> dict[str, Expectation]:
    """From each worker's mean expected service, in ms, and the number of decisions."""
    found: dict[str, Expectation] = {}
    for worker_id, (own_ms, decisions) in by_worker.items():
        peers = [ms for other, (ms, _) in by_worker.items() if other != worker_id]
        if peers:
            found[worker_id] = Expectation(own_ms / statistics.median(peers), decisions)
    return found


def ratio_to_pool(worker_ms: Sequence[float], pool_ms: Sequence[float]) -> Ratio | None:
    """Newest first, in ms, all positive. None with fewer samples than it takes."""
    own = np.log(np.asarray(worker_ms[:SAMPLES_MAX], dtype=float))
    pool = np.log(np.asarray(pool_ms[:SAMPLES_MAX], dtype=float))
    n, m = len(own), len(pool)
    if n < SAMPLES_MIN or m < POOL_SAMPLES_MIN:
        return None
    ratios = np.sort((own[:, None] - pool[None, :]).ravel())
    spread = math.sqrt(n * m * (n + m + 1) / 12)
    rank = round(n * m / 2 - float(stats.norm.ppf(1 - LEVEL / 2)) * spread)
    rank = max(rank, 0)
    return Ratio(
        ratio=math.exp(float(np.median(ratios))),
        low=math.exp(float(ratios[rank])),
        high=math.exp(float(ratios[-1 - rank])),
        samples=n,
        pool_samples=m,
    )


def ratios(by_worker: Mapping[str, list[float]]) -> dict[str, Ratio]:
    """Each worker against its peers; those with samples enough."""
    found: dict[str, Ratio] = {}
    for worker_id, own_ms in by_worker.items():
        # Taken in turns: the newest of each peer, whoever answered more.
        peers = [times for other, times in by_worker.items() if other != worker_id]
        longest = max(map(len, peers), default=0)
        pool_ms = [times[n] for n in range(longest) for times in peers if n < len(times)]
        ratio = ratio_to_pool(own_ms, pool_ms)
        if ratio is not None:
            found[worker_id] = ratio
    return found
