"""What a number of instances carries within an SLO: a queueing approximation. Pure.

The slots of all instances of an option are the servers of an M/G/c queue. Waiting follows Allen and
Cunneen (1990): Erlang's probability of waiting, and its mean wait times (1 + cv²)/2; the wait of
those that wait is taken as exponential. Service is lognormal, and slows with the mean concurrency
by the batch curve. Where a part of it does not go with the size, as an engine's prompts do not, it
spreads that much less. It is an approximation: :mod:`.search` checks what it leads to.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy
from msgspec import Struct

from marketplace.planning.advisor.fleets.option import Option, curve_factor

NETWORK_MS = 1.0
"""Between router and instance, there and back; as in the simulator."""
CV_MIN = 1e-6
"""Sizes that spread less are taken as equal."""
GRID = ((0.0, 0.5, 50), (0.5, 0.9, 160), (0.9, 0.99, 180), (0.99, 0.9999, 198), (0.9999, 1.0, 2))
"""Classes of size: from and to which quantile, and how many."""
BISECTIONS = 24
CARRIED_MAX = 20_000
"""Rates that are kept: a sensitivity asks for the same ones again."""

Curve = tuple[tuple[int, float], ...]


class Load(Struct, frozen=True):
    """``count`` instances of an option under ``rate_hz``. Times in ms.

    Given that a call waits (``waits``), its wait is exponential with mean ``wait_ms``.
    """

    service_ms: float
    waits: float
    wait_ms: float
    utilisation: float
    cv: float

    def within(self, ms: float) -> float:
        """Share of the calls that end within ``ms``."""
        left = ms - NETWORK_MS
        if left <= 0 or self.utilisation >= 1:
            return 0.0
        if self.cv < CV_MIN:
            served = 1.0 if self.service_ms <= left else 0.0
            late = math.exp(-max(left - self.service_ms, 0) / self.wait_ms) * served
            return served - self.waits * late
        mu, sigma = _lognormal(self.service_ms, self.cv)
        quantiles, weights = _grid()
        sizes = np.exp(mu + sigma * quantiles)
        fits = sizes <= left
        # Size by size, so that the share never falls as the time grows.
        waited = self.waits * np.exp(-(left - sizes[fits]) / self.wait_ms)
        return float((weights[fits] * (1 - waited)).sum())


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the normal distribution and their weights, finer where percentiles lie."""
    edges = np.concatenate([np.linspace(low, high, n, endpoint=False) for low, high, n in GRID])
    edges = np.append(edges, 1.0)
    return np.asarray(scipy.special.ndtri((edges[:-1] + edges[1:]) / 2)), np.diff(edges)


def _lognormal(mean: float, cv: float) -> tuple[float, float]:
    sigma2 = math.log1p(cv * cv)
    return math.log(mean) - sigma2 / 2, math.sqrt(sigma2)


def waiting_probability(servers: int, offered: float) -> float:
    """Erlang C; ``offered`` is rate times mean service, below ``servers``."""
    if offered <= 0:
        return 0.0
    log_last = servers * math.log(offered) - offered - float(scipy.special.gammaln(servers + 1))
    blocking = math.exp(log_last) / max(float(scipy.special.pdtr(servers, offered)), 1e-300)
    share = offered / servers
    return blocking / (1 - share * (1 - blocking))


def load_of(option: Option, count: int, rate_hz: float, cv: float) -> Load:
    """The option's instances under a rate that is spread evenly over them."""
    spread = cv * option.varying
    return _load(option.service_ms, option.slots, option.batch_curve, count, rate_hz, spread)


def _load(alone_ms: float, slots: int, curve: Curve, count: int, rate_hz: float, cv: float) -> Load:
    servers = count * slots
    service_ms = alone_ms * curve_factor(curve, slots)
    utilisation = rate_hz * service_ms / 1e3 / servers
    if utilisation >= 1:
        return Load(service_ms, 1.0, math.inf, utilisation, cv)
    if curve:
        # A call finds the mean concurrency running (Poisson arrivals see time averages).
        alone = rate_hz / count * alone_ms / 1e3
        low, high = 0.0, float(slots)
        for _ in range(BISECTIONS):
            beside = (low + high) / 2
            if beside < alone * curve_factor(curve, min(1 + beside, slots)):
                low = beside
            else:
                high = beside
        service_ms = alone_ms * curve_factor(curve, min(1 + high, slots))
    offered = min(rate_hz * service_ms / 1e3, servers * 0.9999)
    waits = waiting_probability(servers, offered)
    wait_ms = service_ms * (1 + cv * cv) / 2 / (servers - offered)
    return Load(service_ms, waits, wait_ms, utilisation, cv)


def rate_carried(
    option: Option, count: int, *, slo_ms: float, share: float, cv: float, utilisation_max: float
) -> float:
    """The highest rate (calls a second) that ``count`` instances carry; 0 if not even one call."""
    station = (option.service_ms, option.slots, option.batch_curve)
    return _carried(station, count, slo_ms, share, cv * option.varying, utilisation_max)


@lru_cache(maxsize=CARRIED_MAX)
def _carried(
    station: tuple[float, int, Curve],
    count: int,
    slo_ms: float,
    share: float,
    cv: float,
    utilisation_max: float,
) -> float:
    alone_ms, slots, curve = station
    capacity_hz = count * slots * 1e3 / (alone_ms * curve_factor(curve, slots))

    def meets(rate_hz: float) -> bool:
        return _load(*station, count, rate_hz, cv).within(slo_ms) >= share

    low, high = 0.0, capacity_hz * utilisation_max
    if meets(high):
        return high
    if not meets(high * 1e-6):
        return 0.0
    for _ in range(BISECTIONS):
        rate_hz = (low + high) / 2
        low, high = (rate_hz, high) if meets(rate_hz) else (low, rate_hz)
    return low


def latency_ms(loads: Sequence[tuple[float, Load]], share: float) -> float:
    """The latency within which ``share`` of the calls of a mixed fleet end.

    ``loads`` are (share of traffic, load). Infinite where a part of the fleet has no capacity left.
    """
    low, high = 0.0, 1.0

    def within(ms: float) -> float:
        return sum(part * load.within(ms) for part, load in loads)

    while within(high) < share:
        high *= 2
        if high > 1e12:
            return math.inf
    for _ in range(2 * BISECTIONS):
        middle = (low + high) / 2
        if within(middle) >= share:
            high = middle
        else:
            low = middle
    return high
