"""The stages of a pipeline's call on one line of time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from marketplace.predictions.models import PredictionStage


@dataclass(frozen=True, slots=True)
class Span:
    """A stage: when its wait and its run began after that of the first, in ms."""

    stage: PredictionStage
    waits_at_ms: float
    runs_at_ms: float
    ended_ms: float

    @property
    def queue_ms(self) -> float:
        return self.runs_at_ms - self.waits_at_ms

    @property
    def predict_ms(self) -> float:
        return self.ended_ms - self.runs_at_ms

    @property
    def took_ms(self) -> float:
        return self.ended_ms - self.waits_at_ms


@dataclass(frozen=True, slots=True)
class Trace:
    """``total_ms`` is the time of all stages; what passes between two is left out."""

    spans: tuple[Span, ...]
    total_ms: float
    cost_nano: int


def trace_of(stages: Iterable[PredictionStage]) -> Trace:
    """One stage follows another. What is not known yet takes no time."""
    spans, at_ms, cost_nano = [], 0.0, 0
    for stage in stages:
        runs_at_ms = at_ms + (stage.queue_ms or 0.0)
        ended_ms = runs_at_ms + (stage.predict_ms or 0.0)
        spans.append(Span(stage, at_ms, runs_at_ms, ended_ms))
        at_ms, cost_nano = ended_ms, cost_nano + (stage.cost_nano or 0)
    return Trace(tuple(spans), at_ms, cost_nano)
