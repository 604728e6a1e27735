"""Statistics of samples: intervals, goodput, the knee of a load curve, service time alone. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

CONFIDENCE = 0.95

Interval = tuple[float, float, float]
"""A value with the bounds of its confidence interval: value, low, high."""


def percentile(values: Sequence[float], q: float, confidence: float = CONFIDENCE) -> Interval:
    """A quantile of a sample (0 < q < 1), with the interval that order statistics give.

    No distribution is assumed: the number of values below the true quantile is binomial
    (Conover, Practical Nonparametric Statistics, 3.2). The value is the nearest rank, as in
    LoadGen. With too few values the bounds are the least and the greatest of them.
    Raises ``ValueError`` without values.
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies between 0 and 1, got {q}")
    ordered = sorted(values)
    n = len(ordered)
    tail = (1 - confidence) / 2
    below = int(scipy.stats.binom.ppf(tail, n, q))
    above = int(scipy.stats.binom.ppf(1 - tail, n, q))
    rank = min(n - 1, math.ceil(q * n) - 1)
    low, high = max(0, below - 1), min(n - 1, above)
    return ordered[rank], ordered[min(low, rank)], ordered[max(high, rank)]


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean with Student's interval. Raises ``ValueError`` without values."""
    if not values:
        raise ValueError("there is no mean of nothing")
    average = math.fsum(values) / len(values)
    if len(values) == 1:
        return average, average, average
    variance = math.fsum((x - average) ** 2 for x in values) / (len(values) - 1)
    error = math.sqrt(variance / len(values))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return average, average - half, average + half


def summary(values: Sequence[float]) -> dict[str, list[float]]:
    """``mean``, ``p50``, ``p90`` and ``p99``, each ``[value, low, high]``; {} without values."""
    if not values:
        return {}
    found = {
        "mean": mean(values),
        **{f"p{round(q * 100)}": percentile(values, q) for q in (0.5, 0.9, 0.99)},
    }
    return {name: [round(x, 4) for x in interval] for name, interval in found.items()}


def knee(mean_ms: Sequence[float], goodput_hz: Sequence[float]) -> int | None:
    """The index of the knee: where goodput over mean latency is greatest; None without goodput.

    That ratio is Kleinrock's "power" (Power and deterministic rules of thumb for probabilistic
    problems in computer communications, ICC 1979). Of a server with c slots and a fixed service
    time it is greatest at c. Loads rise; of equals the lower one is the knee.
    """
    best: int | None = None
    most = 0.0
    for index, (latency_ms, rate_hz) in enumerate(zip(mean_ms, goodput_hz, strict=True)):
        power = rate_hz / latency_ms if latency_ms > 0 else 0.0
        if power > most * (1 + 1e-9):
            best, most = index, power
    return best


@dataclass(frozen=True, slots=True)
class Service:
    """``alone_ms`` is the mean service time of one request alone; ``measured`` when a point of
    concurrency 1 is there, else read from a line. ``curve`` is of pairs: the concurrency, and how
    many times as long as alone.
    """

    alone_ms: float
    measured: bool
    curve: tuple[tuple[int, float], ...]


def service_fit(
    concurrency: Sequence[int], mean_ms: Sequence[float], weights: Sequence[float]
) -> Service:
    """The service time alone, and how it grows with concurrent requests.

    Without a point at 1 a weighted straight line through the means is read there. The curve never
    falls: noise is taken out by the isotonic regression of least squares (pool adjacent violators,
    Barlow et al. 1972), and it begins at 1. ``weights`` are sample counts. Raises ``ValueError``
    on unlike lengths, or when there is nothing.
    """
    if not concurrency or not len(concurrency) == len(mean_ms) == len(weights):
        raise ValueError("a fit needs as many means and weights as points, and at least one")
    order = sorted(range(len(concurrency)), key=lambda i: concurrency[i])
    load = [int(concurrency[i]) for i in order]
    times = [float(mean_ms[i]) for i in order]
    sizes = [float(weights[i]) for i in order]
    measured = load[0] == 1
    rising = isotonic(times, sizes)
    alone = rising[0] if measured else _line_at_one(load, times, sizes)
    relative = [level / alone for level in rising]
    curve = [(1, 1.0)] if not measured else []
    for n, factor in zip(load, relative, strict=True):
        curve.append((n, 1.0 if n == 1 else round(max(1.0, factor), 4)))
    return Service(alone, measured, tuple(curve))


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The closest sequence, by weighted least squares, that never falls."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            before = blocks.pop()
            whole = before[1] + block[1]
            level = (before[0] * before[1] + block[0] * block[1]) / whole
            block = (level, whole, before[2] + block[2])
        blocks.append(block)
    return [level for level, _weight, count in blocks for _ in range(count)]


def _line_at_one(load: list[int], times: list[float], sizes: list[float]) -> float:
    if len(set(load)) < 2:
        # A single point of several at once: one alone is no slower, and no more is known.
        return times[0]
    slope, start = np.polyfit(load, times, 1, w=np.sqrt(sizes))
    return float(max(start + slope, min(times) / max(load), 1e-3))
