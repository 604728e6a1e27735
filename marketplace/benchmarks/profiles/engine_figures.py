"""What a benchmark says of an LLM engine: the figures that :mod:`.engine_fit` works out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from router.domain.catalog import EngineCurve

PROMPT_UNIT, CONTEXT_UNIT = 1e3, 1e4
"""Tokens that a weight is for; see :class:`~router.domain.catalog.EngineCurve`."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One of the two sums. ``told`` says of each weight whether the answers tell it; the others
    have the share that they usually have. ``missed`` is the median relative error.
    """

    weights: tuple[float, ...]
    told: tuple[bool, ...]
    missed: float


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What a profile keeps as ``engine``. ``at_once`` is how many answers ran together at most,
    ``context_tokens`` how many each attended to on average, and ``event_tokens`` came in an event.
    ``kv_tokens`` fit into the cache (0: not known; answers do not tell). Where a backend gave the
    figures, ``answers`` is 0 and as many run together as it takes.
    """

    first: Sum
    step: Sum
    answers: int
    at_once: int
    context_tokens: float
    event_tokens: float
    kv_tokens: int = 0

    @property
    def curve(self) -> EngineCurve:
        """What the router begins from."""
        x0, x1, x2 = self.first.weights
        y0, y1, y2, y3 = self.step.weights
        return EngineCurve((x0, x1, x2), (y0, y1, y2, y3), self.event_tokens)

    @property
    def reads_hz(self) -> float | None:
        """Prompt tokens a second; None where the answers do not tell."""
        return PROMPT_UNIT / self.first.weights[2] if self.first.told[2] else None

    @property
    def alone_ms(self) -> float:
        """Of one further token, where one answer is under way."""
        return self.step_ms(1)

    @property
    def together_ms(self) -> float:
        """The same where as many as ran together at most are."""
        return self.step_ms(self.at_once)

    def step_ms(self, answers: int) -> float:
        """Of one further token of each of so many mean answers."""
        y0, y1, y2, _ = self.step.weights
        return (y0 + answers * (y1 + y2 * self.context_tokens / CONTEXT_UNIT)) * 1e3

    def slower(self, factor: float) -> EngineFigures:
        """The same engine where all takes so many times as long."""
        return replace(self, first=_slower(self.first, factor), step=_slower(self.step, factor))


def figures_from(fields: Mapping[str, Any]) -> EngineFigures:
    """Figures from what ``asdict`` made of it, lists for tuples."""
    first, step = (
        Sum(tuple(one["weights"]), tuple(one["told"]), one["missed"])
        for one in (fields["first"], fields["step"])
    )
    return EngineFigures(**{**fields, "first": first, "step": step})


def _slower(one: Sum, factor: float) -> Sum:
    return replace(one, weights=tuple(weight * factor for weight in one.weights))
