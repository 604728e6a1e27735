"""How long each stage of a pipeline took, in real calls."""

from dataclasses import dataclass

from django.db.models import Avg, Count

from marketplace.pipelines.models import Pipeline
from marketplace.predictions.models import Prediction, PredictionStage, Status
from marketplace.shared.jobs.models import JobState

SAMPLE_MAX = 500
"""Of a version's calls the newest that succeeded."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Means over ``calls``. ``share`` is the part, 0 to 1, of the time of all stages."""

    calls: int
    queue_ms: float
    predict_ms: float
    cost_nano: float
    share: float


def stage_times(pipeline: Pipeline) -> dict[str, StageTime]:
    """By stage, over this version's newest calls; empty while there is none."""
    done = Prediction.objects.filter(pipeline=pipeline, state=JobState.SUCCEEDED)
    newest = list(done.order_by("-id").values_list("pk", flat=True)[:SAMPLE_MAX])
    rows = list(
        PredictionStage.objects.filter(prediction__in=newest, state=Status.SUCCEEDED)
        .order_by()
        .values("name")
        .annotate(
            calls=Count("pk"),
            queue=Avg("queue_ms"),
            predict=Avg("predict_ms"),
            cost=Avg("cost_nano"),
        )
    )
    total = sum((row["queue"] or 0.0) + (row["predict"] or 0.0) for row in rows)
    return {
        row["name"]: StageTime(
            calls=row["calls"],
            queue_ms=row["queue"] or 0.0,
            predict_ms=row["predict"] or 0.0,
            cost_nano=float(row["cost"] or 0),
            share=((row["queue"] or 0.0) + (row["predict"] or 0.0)) / total if total else 0.0,
        )
        for row in rows
    }
