"""How an LLM engine takes prompts in and answers, fitted to a benchmark's streams. Pure.

Each answer is looked at as the router does (:class:`~router.domain.catalog.EngineCurve`): what was
ahead of its first token, and in what mean batch its further ones came. Who was under way then is
told by the times of all answers of its point. Both sums are fitted by least squares of logarithms,
of the errors as of the weights: none becomes nothing, from which a router that learns by factors
would never come back. They are drawn towards an engine of the usual proportions by as much as a
fraction of one answer is worth: what a benchmark cannot tell apart, the time to read a prompt where
all are alike say, keeps the usual share of what was measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marketplace.benchmarks.loadgen.samples import Sample
from marketplace.benchmarks.profiles.engine_figures import (
    CONTEXT_UNIT,
    PROMPT_UNIT,
    EngineFigures,
    Sum,
)
from router.domain.catalog import USUAL_ENGINE

ANSWERS_MIN = 20
"""Fewer say too little for a router to rely on."""

USUAL_ANSWERS = 0.1
"""How many answers the usual proportions are worth."""

PASSES = 30
STEP_MAX = 0.7
"""Of a logarithm, in one pass."""

MISSED_MAX = 1.0
"""Log error that one answer counts for at most: a hiccup is no news."""

SECONDS_MIN = 1e-6

TOLD_MIN = 0.8
"""From this share on a weight is the answers' word and not the usual proportions'. What takes no
time in what was measured ends where both pull alike, at up to three quarters.
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one answer shows, in seconds and in the inputs of the two sums."""

    first_s: float
    first: tuple[float, float, float]
    step_s: float
    step: tuple[float, float, float, float]
    at_once: float
    event_tokens: float


def engine_fit(points: Sequence[Sequence[Sample]]) -> EngineFigures | None:
    """The fit to the answers of a benchmark's points; None where too few streamed a prompt that
    was counted. Each point counts alike, however many answers it has.
    """
    seen = [found for samples in points if (found := observed(samples))]
    answers = [one for point in seen for one in point]
    if len(answers) < ANSWERS_MIN:
        return None
    shares = np.concatenate(
        [np.full(len(point), len(answers) / len(seen) / len(point)) for point in seen]
    )
    at_once = max(float(np.mean([one.at_once for one in point])) for point in seen)
    contexts = [one.step[2] * CONTEXT_UNIT / one.at_once for one in answers]
    # An idle engine begins at once; a busy one, which is what matters, ends its step before.
    beside = [n for n, one in enumerate(answers) if one.first[1]]
    busy = beside if len(beside) >= ANSWERS_MIN else list(range(len(answers)))
    return EngineFigures(
        fitted(
            [answers[n].first for n in busy],
            [answers[n].first_s for n in busy],
            shares[busy],
            USUAL_ENGINE.first,
        ),
        fitted(
            [one.step for one in answers],
            [one.step_s for one in answers],
            shares,
            USUAL_ENGINE.step,
        ),
        answers=len(answers),
        at_once=max(1, round(at_once)),
        context_tokens=float(np.mean(contexts)),
        event_tokens=float(np.mean([one.event_tokens for one in answers])),
    )


def observed(samples: Sequence[Sample]) -> list[Observed]:
    """What the answers of one point show, each server's by themselves."""
    by_server: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.error and sample.ttft_ms > 0 and sample.tokens > 1 and sample.prompt_tokens:
            by_server[sample.server].append(sample)
    return [one for server in by_server.values() for one in _observed(server)]


def _observed(samples: Sequence[Sample]) -> list[Observed]:
    begun = np.array([one.started_s for one in samples])
    first = begun + np.array([one.ttft_ms for one in samples]) / 1e3
    ended = begun + np.array([one.total_ms for one in samples]) / 1e3
    prompts = np.array([one.prompt_tokens for one in samples], dtype=float)
    ones = np.ones(len(samples))
    computed = prompts - np.array([one.cached_tokens for one in samples])
    decoding = _Level((first, ones), (ended, -ones))
    context = _Level((begun, prompts), (ended, -prompts))
    pending = _Level((begun, computed), (first, -computed))
    prefilled = _Level((first, computed))
    found = []
    for at, sample in enumerate(samples):
        took_s = ended[at] - first[at]
        steps = sample.tokens - 1
        if took_s <= 0:
            continue
        at_once = decoding.mean(first[at], ended[at])
        found.append(
            Observed(
                sample.ttft_ms / 1e3,
                (1.0, decoding.at(begun[at]), pending.at(begun[at]) / PROMPT_UNIT),
                took_s / steps,
                (
                    1.0,
                    at_once,
                    context.mean(first[at], ended[at]) / CONTEXT_UNIT,
                    (prefilled.at(ended[at]) - prefilled.at(first[at])) / PROMPT_UNIT / steps,
                ),
                at_once,
                sample.tokens / max(sample.events, 1),
            )
        )
    return found


class _Level:
    """A sum of steps in time, and its integral."""

    def __init__(self, *steps: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        times = np.concatenate([at for at, _by in steps])
        order = np.argsort(times, kind="stable")
        self._times = times[order]
        self._levels = np.cumsum(np.concatenate([by for _at, by in steps])[order])
        areas = np.cumsum(self._levels[:-1] * np.diff(self._times))
        self._areas = np.concatenate([[0.0], areas])

    def at(self, time_s: float) -> float:
        """The sum after what happens at that moment."""
        place = int(np.searchsorted(self._times, time_s, side="right")) - 1
        return float(self._levels[place]) if place >= 0 else 0.0

    def mean(self, from_s: float, to_s: float) -> float:
        """The mean level between two moments."""
        return (self._area(to_s) - self._area(from_s)) / (to_s - from_s)

    def _area(self, time_s: float) -> float:
        place = int(np.searchsorted(self._times, time_s, side="right")) - 1
        if place < 0:
            return 0.0
        return float(self._areas[place] + self._levels[place] * (time_s - self._times[place]))


def fitted(
    inputs: Sequence[Sequence[float]],
    seconds: Sequence[float],
    shares: NDArray[np.float64],
    usual: Sequence[float],
) -> Sum:
    """Weights by the logarithms of how many times the usual ones they are, which are first made as
    fast as what was measured. ``shares`` say how much each answer counts.

    What is least is the sum of squares of the errors' logarithms, each bounded, as the router
    learns; each pass takes them for linear where the last one ended (Gauss and Newton).
    """
    x, took = np.array(inputs, dtype=float), np.maximum(np.array(seconds), SECONDS_MIN)
    guess = np.array(usual)
    guess *= float(np.median(took / (x @ guess)))
    logs = np.zeros(len(guess))
    pull = np.sqrt(USUAL_ANSWERS) * np.eye(len(guess))
    counts = np.sqrt(shares)
    for _ in range(PASSES):
        weights = guess * np.exp(logs)
        expected = x @ weights
        missed = np.clip(np.log(took / expected), -MISSED_MAX, MISSED_MAX)
        a = np.vstack([x * weights * (counts / expected)[:, None], pull])
        steps = np.linalg.lstsq(a, np.concatenate([missed * counts, -pull @ logs]), rcond=None)[0]
        logs += np.clip(steps, -STEP_MAX, STEP_MAX)
    weights = guess * np.exp(logs)
    known = 1 - USUAL_ANSWERS * np.diag(np.linalg.inv(a.T @ a))
    return Sum(
        tuple(float(weight) for weight in weights),
        tuple(bool(one) for one in known >= TOLD_MIN),
        float(np.median(np.abs(x @ weights / took - 1))),
    )
