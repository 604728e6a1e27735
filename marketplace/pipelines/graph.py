"""A pipeline as a graph: what each stage takes from where, and where it is drawn. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.catalog.models import AIModel
from marketplace.pipelines.definition import INPUT, Definition
from marketplace.pipelines.kinds import (
    ANSWER_FIELDS,
    ANYTHING,
    NotThere,
    Schema,
    input_schema,
    kind_named,
    output_schema,
    schema_at,
)
from marketplace.pipelines.templates import at_place, references_of

OUTPUT = "output"
"""What comes out at the end. It is a node, and no stage: one may have the same name."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A value by its name, and its kind in words, as ``array of number``."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Edge:
    """The value at ``path`` of ``source`` (a stage, or ``input``) comes to ``place``."""

    source: str
    path: str
    place: str
    kind: str


@dataclass(frozen=True, slots=True)
class Node:
    """A stage. ``takes`` are values of others, ``gives`` what its model answers.

    ``layer`` counts from 1 how many stages must have answered before it, with itself.
    """

    name: str
    model: str
    layer: int
    takes: tuple[Edge, ...]
    gives: tuple[Typed, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """``inputs`` is what the caller gives, ``outputs`` what the output is made of."""

    inputs: tuple[Typed, ...]
    stages: tuple[Node, ...]
    outputs: tuple[Edge, ...]


def graph_of(definition: Definition, models: Mapping[str, AIModel]) -> Graph:
    """The graph of a definition that was checked. Nothing is known of models left out."""
    known: dict[str, Schema] = {INPUT: definition.input_schema}
    layers = {INPUT: 0}
    nodes = []
    for stage in definition.stages:
        model = models.get(stage.model)
        takes = _edges(stage.input, known, input_schema(model) if model else ANYTHING)
        layers[stage.name] = 1 + max((layers[edge.source] for edge in takes), default=0)
        known[stage.name] = output_schema(model) if model else ANYTHING
        gives = _typed(known[stage.name])
        nodes.append(Node(stage.name, stage.model, layers[stage.name], takes, gives))
    return Graph(
        _typed(definition.input_schema),
        tuple(nodes),
        _edges(definition.output, known, ANYTHING),
    )


def _edges(template: Any, known: Mapping[str, Schema], wanted: Schema) -> tuple[Edge, ...]:
    return tuple(
        Edge(
            reference.path.head,
            reference.path.text,
            at_place("", reference.place).lstrip("."),
            _kind(known[reference.path.head], reference.path.steps),
        )
        for reference in references_of(template, "")
    )


def _kind(schema: Schema, steps: Sequence[Any]) -> str:
    try:
        return kind_named(schema_at(schema, steps))
    except NotThere:
        return kind_named(ANYTHING)


def _typed(schema: Schema) -> tuple[Typed, ...]:
    """The values of an object, without those that every answer has beside its own."""
    properties = schema.get("properties", {})
    return tuple(
        Typed(name, kind_named(one if isinstance(one, dict) else ANYTHING))
        for name, one in properties.items()
        if name not in ANSWER_FIELDS
    )
