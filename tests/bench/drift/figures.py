"""Latencies over time, and the moment from which one run is as good as another. Pure."""

from collections.abc import Sequence
from random import Random

import numpy as np
from msgspec import Struct

TOLERANCE = 0.10
"""As good as: mean and p99 at most this much above."""

CONFIDENCE = 0.95


class Samples(Struct, frozen=True):
    """One run: when each call arrived (seconds, the drift at 0) and how long it took (ms)."""

    at_s: np.ndarray
    latency_ms: np.ndarray


class Window(Struct, frozen=True):
    """Calls that arrived in ``[from_s, to_s)``, of all runs together. Latencies in ms."""

    from_s: float
    to_s: float
    count: int
    mean_ms: float
    p99_ms: float
    good: float
    """Share answered within the SLO."""


class Recovery(Struct, frozen=True):
    """``after_s``: end of the first window from which mean and p99 stay within the tolerance,
    None where they never do; ``high_s``: the same, an upper bound at 95 %.
    """

    after_s: float | None
    high_s: float | None


def windows(
    runs: Sequence[Samples],
    *,
    from_s: float,
    to_s: float,
    width_s: float,
    step_s: float,
    slo_ms: float,
) -> list[Window]:
    """Sliding windows over the calls of all runs. Raises ``ValueError`` for an empty window."""
    at_s = np.concatenate([run.at_s for run in runs])
    latency_ms = np.concatenate([run.latency_ms for run in runs])
    order = np.argsort(at_s, kind="stable")
    at_s, latency_ms = at_s[order], latency_ms[order]
    made: list[Window] = []
    for begins_s in np.arange(from_s, to_s - width_s + 1e-9, step_s):
        ends_s = float(begins_s) + width_s
        low, high = np.searchsorted(at_s, [begins_s, ends_s])
        inside = latency_ms[low:high]
        if not len(inside):
            raise ValueError(f"no call arrived from {begins_s:g} to {ends_s:g} s: widen the window")
        made.append(
            Window(
                float(begins_s),
                ends_s,
                len(inside),
                float(inside.mean()),
                float(np.quantile(inside, 0.99)),
                float((inside <= slo_ms).mean()),
            )
        )
    return made


def recovered_s(ours: Sequence[Window], knew: Sequence[Window]) -> float | None:
    """End of the first window from which every later one is within the tolerance."""
    since: float | None = None
    for item, other in zip(ours, knew, strict=True):
        near = 1 + TOLERANCE
        if item.mean_ms <= near * other.mean_ms and item.p99_ms <= near * other.p99_ms:
            since = item.to_s if since is None else since
        else:
            since = None
    return since


def recovery(
    ours: Sequence[Samples],
    knew: Sequence[Samples],
    *,
    to_s: float,
    width_s: float,
    step_s: float = 1.0,
    resamples: int = 200,
    seed: int = 1,
) -> Recovery:
    """Over runs in pairs (the same arrivals in both): the pairs are drawn again for the bound.

    The bound is the percentile bootstrap of Efron (1979) over pairs; a resample that never recovers
    counts as infinite.
    """
    if len(ours) != len(knew) or not ours:
        raise ValueError(f"{len(ours)} runs against {len(knew)}: they must come in pairs")
    kept = {"from_s": 0.0, "to_s": to_s, "width_s": width_s, "step_s": step_s, "slo_ms": np.inf}

    def of(chosen: Sequence[int]) -> float | None:
        return recovered_s(
            windows([ours[i] for i in chosen], **kept), windows([knew[i] for i in chosen], **kept)
        )

    rng, every = Random(seed), range(len(ours))
    drawn = sorted((of([rng.choice(every) for _ in every]) or np.inf) for _ in range(resamples))
    high_s = drawn[min(int(CONFIDENCE * len(drawn)), len(drawn) - 1)] if drawn else np.inf
    return Recovery(of(every), float(high_s) if np.isfinite(high_s) else None)
