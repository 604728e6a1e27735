"""How fast an LLM engine reads prompts and writes answers, fitted to a benchmark's streams. Pure.

The model is the router's (:class:`~router.domain.catalog.EngineCurve`). One sum gives the time to
the first token, from what was ahead of it; another the time of a further token, from the mean batch
that it came in. Which answers were under way is known from the times of all answers of the point.

Both sums are fitted by least squares, of the logarithms of errors and of weights. So no weight
becomes 0, from which a router that learns by factors would never return. The weights are drawn
towards an engine of the usual proportions, as strongly as a fraction of one answer would draw them.
What a benchmark cannot tell apart, like the time to read a prompt where all prompts have one
length, keeps its usual share.
"""

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
"""Fewer are too few for a router to rely on."""

USUAL_ANSWERS = 0.1
"""The usual proportions count as much as so many answers."""

PASSES = 30
STEP_MAX = 0.7
"""Most that a logarithm changes in one pass."""

MISSED_MAX = 1.0
"""Largest log error that one answer counts for: a single hiccup must change little."""

SECONDS_MIN = 1e-6

TOLD_MIN = 0.8
"""From this share on the answers, not the usual proportions, tell a weight. The weight of what
takes no time ends where both pull equally, at three quarters or less.
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
    """Fit the answers of a benchmark's points. Each point counts the same, whatever its answers.

    None where too few answers were streamed and have a count of their prompt's tokens.
    """
    seen = [found for samples in points if (found := observed(samples))]
    answers = [answer for point in seen for answer in point]
    if len(answers) < ANSWERS_MIN:
        return None
    shares = np.concatenate(
        [np.full(len(point), len(answers) / len(seen) / len(point)) for point in seen]
    )
    at_once = max(float(np.mean([answer.at_once for answer in point])) for point in seen)
    contexts = [answer.step[2] * CONTEXT_UNIT / answer.at_once for answer in answers]
    # An idle engine begins at once. A busy one first ends its step, and it is the one that matters.
    beside = [n for n, item in enumerate(answers) if item.first[1]]
    busy = beside if len(beside) >= ANSWERS_MIN else list(range(len(answers)))
    return EngineFigures(
        fitted(
            [answers[n].first for n in busy],
            [answers[n].first_s for n in busy],
            shares[busy],
            USUAL_ENGINE.first,
        ),
        fitted(
            [answer.step for answer in answers],
            [answer.step_s for answer in answers],
            shares,
            USUAL_ENGINE.step,
        ),
        answers=len(answers),
        at_once=max(1, round(at_once)),
        context_tokens=float(np.mean(contexts)),
        event_tokens=float(np.mean([answer.event_tokens for answer in answers])),
    )


def observed(samples: Sequence[Sample]) -> list[Observed]:
    """What the answers of one point show, worked out for each server alone."""
    by_server: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not sample.error and sample.ttft_ms > 0 and sample.tokens > 1 and sample.prompt_tokens:
            by_server[sample.server].append(sample)
    return [answer for server in by_server.values() for answer in _observed(server)]


def _observed(samples: Sequence[Sample]) -> list[Observed]:
    begun = np.array([sample.started_s for sample in samples])
    first = begun + np.array([sample.ttft_ms for sample in samples]) / 1e3
    ended = begun + np.array([sample.total_ms for sample in samples]) / 1e3
    prompts = np.array([sample.prompt_tokens for sample in samples], dtype=float)
    ones = np.ones(len(samples))
    computed = prompts - np.array([sample.cached_tokens for sample in samples])
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
        """The sum right after that moment."""
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
    """Fit the weights of one sum. ``shares`` say how much each answer counts.

    The unknowns are the logarithms of each weight over its usual value, after the usual values are
    scaled to the measured speed. The fit minimises the squares of the errors' logarithms, each
    bounded, as the router's learning does, by Gauss-Newton steps.
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
        tuple(bool(told) for told in known >= TOLD_MIN),
        float(np.median(np.abs(x @ weights / took - 1))),
    )
