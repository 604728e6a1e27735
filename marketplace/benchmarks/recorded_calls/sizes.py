"""The size of recorded calls: how much work each was, from its counts and its time.

Work is relative: 1 is the mean call. What a token, a row or an image costs is fitted to the
measured times by non-negative least squares (Lawson and Hanson 1974). Each time is first divided by
its deployment's speed and by the batch curve's factor at its start: fast hardware must not make a
call look small, nor a busy worker make it look large. The work of a measured call is its own time
in these units, so what tokens do not explain is kept.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from router.domain.outcome import Outcome
from router.domain.pricing import Usage

WORK_MIN, WORK_MAX = 0.01, 100.0
PASSES = 3
"""So often speeds are fitted with known costs, and then costs with known speeds."""

LOG_ERROR_MAX = 0.8
GAIN_MIN = 0.95
"""As in the router's predictor: a prediction with a larger error, or hardly better than the mean,
is not used."""

SAMPLES_MIN = 30
"""Fewer calls tell neither what a token costs nor how fast a deployment is."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One recorded call. Times are in seconds; ``upstream_s`` is 0 where no worker ran it."""

    at_s: float
    usage: Usage
    upstream_s: float = 0.0
    queue_s: float = 0.0
    total_s: float = 0.0
    outcome: str = Outcome.COMPLETED
    organisation_id: int = 0
    deployment_id: int = 0
    worker_id: str = ""
    pool: str = ""
    policy_id: int = 0
    charge_nano: int = 0
    hold_nano: int = 0
    streamed: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether its time at the worker is the time of a whole answer."""
        return self.outcome == Outcome.COMPLETED and self.upstream_s > 0


@dataclass(frozen=True, slots=True)
class Speed:
    """How long a mean call takes alone on a deployment's workers, measured on ``samples`` calls."""

    service_ms: float
    samples: int


@dataclass(frozen=True, slots=True)
class CallSizes:
    """``sizes`` of the calls in order (mean 1), and what ``predicted`` them (0: nothing did)."""

    sizes: tuple[float, ...]
    predicted: tuple[float, ...]
    speeds: Mapping[int, Speed]


Factor = Callable[[int, int], float]
"""Of a deployment id and a concurrency: service time relative to one alone."""


def call_sizes_of(calls: Sequence[RecordedCall], factor: Factor) -> CallSizes:
    """Sizes, predictions and deployments' speeds of calls that lie in order of time."""
    if not calls:
        return CallSizes((), (), {})
    alone_s = np.array(
        [
            call.upstream_s / factor(call.deployment_id, together) if call.is_measured else 0.0
            for call, together in zip(calls, concurrency_of(calls), strict=True)
        ]
    )
    explained = _explained(calls, alone_s)
    speeds = _speeds(calls, alone_s, explained)
    sizes = np.array(
        [
            seconds / speeds[call.deployment_id] if seconds else work
            for call, seconds, work in zip(calls, alone_s, explained, strict=True)
        ]
    )
    mean = float(sizes.mean())
    sizes = np.clip(sizes / mean, WORK_MIN, WORK_MAX)
    counts: dict[int, int] = defaultdict(int)
    for call in calls:
        counts[call.deployment_id] += call.is_measured
    return CallSizes(
        tuple(map(float, sizes)),
        predicted_of(calls, sizes),
        {id_: Speed(s * mean * 1e3, counts[id_]) for id_, s in speeds.items()},
    )


def concurrency_of(calls: Sequence[RecordedCall]) -> list[int]:
    """Of each call: how many calls its worker ran as it began, itself included."""
    starts = sorted(range(len(calls)), key=lambda i: calls[i].at_s + calls[i].queue_s)
    running: dict[str, list[float]] = defaultdict(list)
    together = [1] * len(calls)
    for i in starts:
        call = calls[i]
        if not call.worker_id or not call.upstream_s:
            continue
        begun_s = call.at_s + call.queue_s
        ends = running[call.worker_id]
        while ends and ends[0] <= begun_s:
            heapq.heappop(ends)
        heapq.heappush(ends, begun_s + call.upstream_s)
        together[i] = len(ends)
    return together


def predicted_of(calls: Sequence[RecordedCall], sizes: NDArray[np.float64]) -> tuple[float, ...]:
    """The size of each call as it could be predicted before the call ran.

    The router learns the logarithm of work from the logarithms of prompt tokens, of rows and of the
    most tokens that may be generated. That last bound is not recorded. The credit held for it is,
    and tells the bound where an answer came whole. The hold of a stream grows with its answer, so
    it tells what came, not what was known: of streams less is known here than the router knew.
    """
    known = np.array([call.is_measured for call in calls])
    nothing = (0.0,) * len(calls)
    if known.sum() < SAMPLES_MIN:
        return nothing
    features = np.log1p(
        [[c.usage.prompt_tokens + c.usage.cached_tokens, c.usage.rows] for c in calls]
    )
    whole = np.array([not call.streamed for call in calls])
    holds = np.where(whole, np.log1p([call.hold_nano for call in calls]), 0.0)
    if (known & whole).any():
        # Centred, so that the 0 of a stream adds nothing.
        holds[whole] -= holds[known & whole].mean()
    x = np.column_stack(
        [np.ones(len(calls)), features - features[known].mean(axis=0), holds, whole]
    )
    y = np.log(sizes)
    weights = np.linalg.lstsq(x[known], y[known], rcond=None)[0]
    fitted = x @ weights
    error = float(np.std(y[known] - fitted[known]))
    if error > LOG_ERROR_MAX or error > GAIN_MIN * float(np.std(y[known])):
        return nothing
    work = np.exp(np.clip(fitted, np.log(WORK_MIN), np.log(WORK_MAX)))
    work /= work[known].mean()
    return tuple(
        float(value) if call.usage.tokens or call.usage.rows else 0.0
        for call, value in zip(calls, work, strict=True)
    )


def _explained(calls: Sequence[RecordedCall], alone_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each call's work by its counts, mean 1 over measured calls; 1 for one without counts."""
    measured = alone_s > 0
    work = np.ones(len(calls))
    if measured.sum() < SAMPLES_MIN:
        return work
    counts = np.array([_counts(call.usage) for call in calls], dtype=float)
    scale = counts[measured].max(axis=0)
    x = np.column_stack([np.ones(len(calls)), counts / np.where(scale > 0, scale, 1.0)])
    for _ in range(PASSES):
        speeds = _speeds(calls, alone_s, work)
        relative = np.array(
            [
                s / speeds[call.deployment_id] if s else 0.0
                for call, s in zip(calls, alone_s, strict=True)
            ]
        )
        q, r = np.linalg.qr(x[measured])
        costs, _ = scipy.optimize.nnls(r, q.T @ np.minimum(relative[measured], WORK_MAX))
        work = x @ costs
        work /= work[measured].mean()
    served = np.array([sum(_counts(call.usage)) > 0 for call in calls])
    return np.where(served, np.maximum(work, WORK_MIN), 1.0)


def _speeds(
    calls: Sequence[RecordedCall], alone_s: NDArray[np.float64], work: NDArray[np.float64]
) -> dict[int, float]:
    """Seconds per unit of work of each deployment: its whole time over its whole work."""
    seconds: dict[int, float] = defaultdict(float)
    units: dict[int, float] = defaultdict(float)
    for call, took_s, size in zip(calls, alone_s, work, strict=True):
        if took_s:
            seconds[call.deployment_id] += float(took_s)
            units[call.deployment_id] += float(size)
    return {id_: seconds[id_] / max(units[id_], WORK_MIN) for id_ in seconds}


def _counts(usage: Usage) -> tuple[int, ...]:
    return (
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens + usage.reasoning_tokens,
        usage.rows,
        usage.images,
    )
