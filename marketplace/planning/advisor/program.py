"""The cheapest fleet, by integer programming (HiGHS through ``scipy.optimize.milp``). Pure.

For each option a binary variable per count: "exactly n instances", which carry a rate that was
worked out before. So what n instances carry may be any rising function of n (queues pool), and the
program stays linear.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from scipy.optimize import Bounds, LinearConstraint, milp

MIXED_MAX = 2
"""Kinds of instance in one fleet: more are hardly ever run, and each multiplies the fleets."""
RATE_SLACK = 1e-6
"""Relative; solvers are right to within their tolerance."""

Counts = tuple[int, ...]


class Part(Struct, frozen=True):
    """One option: ``carries[n - 1]`` calls a second by n instances, each at ``cost`` an hour."""

    cost: float
    carries: tuple[float, ...]

    def rate_hz(self, count: int) -> float:
        return self.carries[count - 1] if count else 0.0


def cheapest(
    parts: Sequence[Part],
    rate_hz: float,
    *,
    budget: float = 0.0,
    spare: bool = False,
    mixed_max: int = MIXED_MAX,
    cuts: Sequence[Counts] = (),
) -> Counts | None:
    """Counts by option of the cheapest fleet that carries ``rate_hz``; None if there is none.

    With ``spare`` it does so with any one instance gone. No fleet that lies within one of
    ``cuts`` (as many instances or fewer of each option) comes back: those are known to miss.
    """
    columns = [(i, n) for i, part in enumerate(parts) for n in range(1, len(part.carries) + 1)]
    if not columns:
        return None
    option = np.array([i for i, _ in columns])
    count = np.array([n for _, n in columns])
    carries = np.array([parts[i].rate_hz(n) for i, n in columns])
    lost = carries - np.array([parts[i].rate_hz(n - 1) for i, n in columns])
    cost = np.array([parts[i].cost * n for i, n in columns])
    rows: list[tuple[np.ndarray, float, float]] = [
        ((option == i).astype(float), 0.0, 1.0) for i in range(len(parts))
    ]
    # Scaled, so that a solver's absolute tolerance means the same at any rate.
    needed = 1.0 - RATE_SLACK
    rows.append((carries / rate_hz, needed, np.inf))
    rows.append((np.ones(len(columns)), 1.0, float(mixed_max)))
    if spare:
        rows += [
            ((carries - np.where(option == i, lost, 0.0)) / rate_hz, needed, np.inf)
            for i in range(len(parts))
        ]
    if budget:
        rows.append((cost / budget, 0.0, 1.0 + 1e-9))
    for cut in cuts:
        more = np.array([n > cut[i] for i, n in columns], dtype=float)
        rows.append((more, 1.0, np.inf))
    scale = max(float(cost.max()), 1e-12)
    # Of fleets that cost the same, the one with fewer instances.
    objective = cost / scale + 1e-7 * count
    matrix = np.vstack([row for row, _, _ in rows])
    solved = milp(
        objective,
        constraints=LinearConstraint(
            matrix, [low for _, low, _ in rows], [high for _, _, high in rows]
        ),
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        return None
    counts = [0] * len(parts)
    for (i, n), chosen in zip(columns, solved.x, strict=True):
        if chosen > 0.5:
            counts[i] = n
    return tuple(counts)


def cost_of(parts: Sequence[Part], counts: Counts) -> float:
    """An hour of the fleet, in the unit of the parts' costs."""
    return sum(part.cost * n for part, n in zip(parts, counts, strict=True))


def covers(counts: Counts, others: Counts) -> bool:
    """Whether ``counts`` has at least as many of each."""
    return all(n >= m for n, m in zip(counts, others, strict=True))


def largest_below(
    costs: Sequence[float], cost: float, counts_max: Sequence[int], mixed_max: int = MIXED_MAX
) -> list[Counts]:
    """Every fleet cheaper than ``cost`` to which no instance can be added without reaching it.

    Any cheaper fleet lies within one of them, so where these miss an SLO, all cheaper ones do. At
    most ``mixed_max`` (1 or 2) options are mixed.
    """
    under = cost * (1 - 1e-9)
    found: set[Counts] = set()
    options = range(len(costs))

    def keep(chosen: dict[int, int]) -> None:
        left = under - sum(costs[i] * n for i, n in chosen.items())
        addable = chosen if len(chosen) >= mixed_max else options
        if all(costs[i] > left or chosen.get(i, 0) >= counts_max[i] for i in addable):
            found.add(tuple(chosen.get(i, 0) for i in options))

    for i in options:
        most = min(int(under / costs[i]), counts_max[i])
        if most:
            keep({i: most})
        if mixed_max < 2:
            continue
        for j in range(i + 1, len(costs)):
            for n in range(1, most + 1):
                m = min(int((under - n * costs[i]) / costs[j]), counts_max[j])
                if m >= 1:
                    keep({i: n, j: m})
    return sorted(found)
