"""The cheapest fleet, by integer programming (HiGHS through ``scipy.optimize.milp``). Pure.

For each option a binary variable per count: "exactly n instances", which carry a rate that was
worked out before. So what n instances carry may be any rising function of n (queues pool), and the
program stays linear.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import scipy
from msgspec import Struct

COUNT_MAX = 64
"""Most instances of one option in a fleet."""
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
        """More instances than are known are taken to carry as much as the most that are."""
        return self.carries[min(count, len(self.carries)) - 1] if count and self.carries else 0.0


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
    solved = scipy.optimize.milp(
        objective,
        constraints=scipy.optimize.LinearConstraint(
            matrix, [low for _, low, _ in rows], [high for _, _, high in rows]
        ),
        integrality=np.ones(len(columns)),
        bounds=scipy.optimize.Bounds(0, 1),
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


def neighbours(costs: Sequence[float], counts: Counts) -> list[Counts]:
    """Cheaper fleets one step away, of at most :data:`MIXED_MAX` options.

    Either one instance goes, and as many of one or two other options come as still cost less. Or
    one comes, and as few of another option go as pay for it.
    """
    found: set[Counts] = set()

    def keep(changes: dict[int, int]) -> None:
        fleet = tuple(n + changes.get(i, 0) for i, n in enumerate(counts))
        if any(fleet) and sum(n > 0 for n in fleet) <= MIXED_MAX and max(fleet) <= COUNT_MAX:
            found.add(fleet)

    for i, count in enumerate(counts):
        if not count:
            continue
        under = costs[i] * (1 - 1e-9)
        others = {j: cost for j, cost in enumerate(costs) if j != i}
        keep({i: -1})
        for added in _affordable(others, under):
            keep({i: -1} | added)
        for j, cost in others.items():
            few = int(cost / under) + 1
            if 1 < few <= count:
                keep({i: -few, j: 1})
    return sorted(found)


def _affordable(costs: Mapping[int, float], under: float) -> Iterator[dict[int, int]]:
    """Instances of one or two options for less than ``under``, as many as that buys."""
    for i, cost in costs.items():
        yield {i: int(under / cost)}
    for (i, cost), (j, other) in combinations(costs.items(), 2):
        for n in range(1, int(under / cost) + 1):
            yield {i: n, j: int((under - n * cost) / other)}
