"""What no scheduler could beat: the share of calls that a fleet can bring within an SLO at all.

A linear program over classes of size: how much of each class goes to which option, with every call
served, none waiting, and none slowed by another. Real fleets do worse, so a fleet whose bound is
below the asked share misses for certain, without being run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special
from scipy.optimize import linprog

from marketplace.planning.advisor.option import Option, curve_factor
from marketplace.planning.advisor.program import Counts
from marketplace.planning.advisor.queueing import NETWORK_MS

CLASSES = 60
SLACK = 0.002
"""Chance: a run of finite length may do a little better than its mean."""


def share_at_most(
    options: Sequence[Option], counts: Counts, *, rate_hz: float, slo_ms: float, cv: float
) -> float:
    """An upper bound from 0 to 1; 0 also where the fleet cannot serve the rate at all."""
    chosen = [(option, n) for option, n in zip(options, counts, strict=True) if n]
    edges, means = _classes(cv)
    classes = len(means)
    within = np.array(
        [
            [1.0 if edge * quickest_ms(option) + NETWORK_MS <= slo_ms else 0.0 for edge in edges]
            for option, _ in chosen
        ]
    )
    work = rate_hz / classes * means
    load = np.zeros((len(chosen), len(chosen) * classes))
    for row, (option, n) in enumerate(chosen):
        load[row, row * classes : (row + 1) * classes] = work / (n * best_hz(option))
    served = np.tile(np.eye(classes), len(chosen))
    solved = linprog(
        -within.ravel() / classes,
        A_ub=load,
        b_ub=np.ones(len(chosen)),
        A_eq=served,
        b_eq=np.ones(classes),
        bounds=(0, 1),
    )
    return min(-float(solved.fun) + SLACK, 1.0) if solved.status == 0 else 0.0


def quickest_ms(option: Option) -> float:
    """The mean service time at the concurrency where it is least: alone, as a rule."""
    return option.service_ms * min(curve_factor(option.batch_curve, n) for n in _loads(option))


def best_hz(option: Option) -> float:
    """The highest rate of an instance at any concurrency."""
    return max(
        n / (option.service_ms / 1e3 * curve_factor(option.batch_curve, n)) for n in _loads(option)
    )


def _loads(option: Option) -> set[int]:
    return {1, option.slots, *(n for n, _ in option.batch_curve if n <= option.slots)}


def _classes(cv: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower edges and mean sizes of classes of equal probability (lognormal, mean 1)."""
    if cv == 0:
        return np.ones(1), np.ones(1)
    sigma = math.sqrt(math.log1p(cv * cv))
    quantiles = special.ndtri(np.arange(CLASSES + 1) / CLASSES)
    edges = np.exp(-sigma * sigma / 2 + sigma * quantiles[:-1])
    # The mean below a quantile of a lognormal is its normal's, shifted by sigma.
    below = special.ndtr(quantiles - sigma)
    return edges, np.diff(below) * CLASSES
