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
    """One of the two sums. ``told`` marks the weights that the answers tell; the others have their
    usual share. ``missed`` is the median relative error.
    """

    weights: tuple[float, ...]
    told: tuple[bool, ...]
    missed: float


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What a profile keeps as ``engine``.

    ``at_once`` is the most answers that ran together, ``context_tokens`` the tokens that each
    attended to on average, ``event_tokens`` the tokens in an event. ``kv_tokens`` fit into the
    cache (0: not known, as answers do not tell). Where a backend gave the figures, ``answers`` is 0
    and ``at_once`` what the backend takes.
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
        """Time of one further token where one answer is under way."""
        return self.step_ms(1)

    @property
    def together_ms(self) -> float:
        """The same where ``at_once`` answers are."""
        return self.step_ms(self.at_once)

    def step_ms(self, answers: int) -> float:
        """Time in which each of so many mean answers gets one further token."""
        y0, y1, y2, _ = self.step.weights
        return (y0 + answers * (y1 + y2 * self.context_tokens / CONTEXT_UNIT)) * 1e3

    def call_s(
        self, prompt_tokens: float, answer_tokens: float, together: float, context_tokens: float
    ) -> float:
        """How long a call takes of so many uncached and answer tokens, where ``together`` calls
        run, itself among them, which attend to ``context_tokens`` each.

        It waits for its own prompt, for those of the calls that replace the others, and for its
        steps.
        """
        x0, x1, x2 = self.first.weights
        y0, y1, y2, _ = self.step.weights
        first_s = x0 + (together - 1) * x1 + together * x2 * prompt_tokens / PROMPT_UNIT
        step_s = y0 + together * (y1 + y2 * context_tokens / CONTEXT_UNIT)
        return first_s + (answer_tokens - 1) * step_s

    def slower(self, factor: float) -> EngineFigures:
        """The same engine where everything takes ``factor`` times as long."""
        return replace(self, first=_slower(self.first, factor), step=_slower(self.step, factor))


def figures_from(fields: Mapping[str, Any]) -> EngineFigures:
    """Figures from what ``asdict`` made of it, lists for tuples."""
    first, step = (
        Sum(tuple(sum_["weights"]), tuple(sum_["told"]), sum_["missed"])
        for sum_ in (fields["first"], fields["step"])
    )
    return EngineFigures(**{**fields, "first": first, "step": step})


def _slower(fit: Sum, factor: float) -> Sum:
    return replace(fit, weights=tuple(weight * factor for weight in fit.weights))
