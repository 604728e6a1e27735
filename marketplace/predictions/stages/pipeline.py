"""A pipeline with all that is known of its stages: their graph, prices, and real times."""

from collections.abc import Mapping
from dataclasses import dataclass

from marketplace.catalog.models import AIModel, Offer
from marketplace.catalog.selectors import cheapest_of, priced_by_model
from marketplace.pipelines.definition import Definition
from marketplace.pipelines.drawing import Box, Drawing, drawing_of
from marketplace.pipelines.graph import Graph, Node, graph_of
from marketplace.pipelines.models import Pipeline
from marketplace.pipelines.selectors import models_of
from marketplace.predictions.stages.times import StageTime, stage_times


@dataclass(frozen=True, slots=True)
class StageShown:
    """``model`` is None where it is not offered any more, ``time`` where nobody called yet."""

    number: int
    node: Node
    model: AIModel | None
    offer: Offer | None
    time: StageTime | None


@dataclass(frozen=True, slots=True)
class PipelineShown:
    """``calls`` are those that the stages' times are means of."""

    definition: Definition
    graph: Graph
    drawing: Drawing
    stages: tuple[StageShown, ...]

    @property
    def boxes(self) -> list[tuple[Box, float | None]]:
        """Each with its stage's share of the time, where there is one."""
        shares = {one.node.name: one.time.share for one in self.stages if one.time}
        return [(box, shares.get(box.stage)) for box in self.drawing.boxes]

    @property
    def calls(self) -> int:
        return max((stage.time.calls for stage in self.stages if stage.time), default=0)


def pipeline_shown(pipeline: Pipeline) -> PipelineShown:
    """One that is kept, in a fixed number of queries."""
    return _shown(pipeline.definition, stage_times(pipeline))


def shown_unkept(definition: Definition) -> PipelineShown:
    """One that was checked and that nobody can have called yet."""
    return _shown(definition, {})


def _shown(definition: Definition, times: Mapping[str, StageTime]) -> PipelineShown:
    models = models_of(definition)
    graph = graph_of(definition, models)
    priced = priced_by_model(models.values())
    stages = []
    for number, node in enumerate(graph.stages, 1):
        model = models.get(node.model)
        offer = cheapest_of(priced.get(model.pk, ())) if model else None
        stages.append(StageShown(number, node, model, offer, times.get(node.name)))
    return PipelineShown(definition, graph, drawing_of(graph), tuple(stages))
