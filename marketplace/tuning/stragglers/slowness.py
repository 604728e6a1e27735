"""Estimates how much slower a worker is than its pool: a robust ratio with its interval.

The estimate is the median of all ratios between a call of the worker and one of its peers (Hodges
and Lehmann 1963); bounds are order statistics of these ratios by the Mann-Whitney distribution. It
assumes no distribution of service times, and outliers do not move it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

STRAYS_ABOVE = 1.5
"""A worker strays if the lower bound of its ratio is above this, ..."""
BACK_BELOW = 1.25
"""... and is back if its estimate is below this, or its interval reaches 1."""
LEVEL = 0.001
SAMPLES_MIN = 6
POOL_SAMPLES_MIN = 20
SAMPLES_MAX = 300
"""The newest calls to compare, of the worker and of its peers each."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A worker's service time over its peers'."""

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
"""A worker also strays if the router expects it to take this many times its peers' time, ..."""
DECISIONS_MIN = 20
"""... as the mean of so many decisions: an avoided worker has few calls to compare."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The router's expectation of a worker over the median of its peers, for the same calls."""

    ratio: float
    decisions: int

    @property
    def strays(self) -> bool:
        return self.ratio > EXPECTED_ABOVE and self.decisions >= DECISIONS_MIN

    @property
    def is_back(self) -> bool:
        return self.ratio < BACK_BELOW


def expectations(by_worker: Mapping[str, tuple[float, int]]) -> dict[str, Expectation]:
    """Expectations by worker, from the mean expected service in ms and the number of decisions."""
    found: dict[str, Expectation] = {}
    for worker_id, (own_ms, decisions) in by_worker.items():
        peers = [ms for other, (ms, _) in by_worker.items() if other != worker_id]
        if peers:
            found[worker_id] = Expectation(own_ms / statistics.median(peers), decisions)
    return found


def ratio_to_pool(worker_ms: Sequence[float], pool_ms: Sequence[float]) -> Ratio | None:
    """The ratio from service times in ms (positive, newest first). None with too few samples."""
    own = np.log(np.asarray(worker_ms[:SAMPLES_MAX], dtype=float))
    pool = np.log(np.asarray(pool_ms[:SAMPLES_MAX], dtype=float))
    n, m = len(own), len(pool)
    if n < SAMPLES_MIN or m < POOL_SAMPLES_MIN:
        return None
    ratios = np.sort((own[:, None] - pool[None, :]).ravel())
    spread = math.sqrt(n * m * (n + m + 1) / 12)
    rank = round(n * m / 2 - float(scipy.stats.norm.ppf(1 - LEVEL / 2)) * spread)
    rank = max(rank, 0)
    return Ratio(
        ratio=math.exp(float(np.median(ratios))),
        low=math.exp(float(ratios[rank])),
        high=math.exp(float(ratios[-1 - rank])),
        samples=n,
        pool_samples=m,
    )


def ratios(by_worker: Mapping[str, list[float]]) -> dict[str, Ratio]:
    """The ratio of each worker with enough samples to its peers."""
    found: dict[str, Ratio] = {}
    for worker_id, own_ms in by_worker.items():
        # Interleaved: the newest calls of each peer, so that a busy peer does not dominate.
        peers = [times for other, times in by_worker.items() if other != worker_id]
        longest = max(map(len, peers), default=0)
        pool_ms = [times[n] for n in range(longest) for times in peers if n < len(times)]
        ratio = ratio_to_pool(own_ms, pool_ms)
        if ratio is not None:
            found[worker_id] = ratio
    return found
