"""Where the boxes and lines of a pipeline's picture are. Pure."""

from collections import defaultdict
from dataclasses import dataclass

from marketplace.pipelines.definition import INPUT
from marketplace.pipelines.graph import OUTPUT, Graph

BOX_WIDTH, BOX_HEIGHT = 176, 48
"""The template that draws them (`pipelines/graph.html`) is made for this size."""
GAP_X, GAP_Y = 24, 40
BULGE = 28
"""How far to the side a line goes for each layer that it passes by."""


@dataclass(frozen=True, slots=True)
class Box:
    """``stage`` is empty for what comes in and for what goes out."""

    key: str
    stage: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """``lines`` are paths of SVG; all is in its user units."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]


def drawing_of(graph: Graph) -> Drawing:
    """Layers from top to bottom: the input, stages as early as they could be, the output."""
    rows: dict[int, list[tuple[str, str]]] = defaultdict(list)
    rows[0].append((INPUT, ""))
    for node in graph.stages:
        rows[node.layer].append((_key(node.name), node.name))
    last = max(rows) + 1
    rows[last].append((OUTPUT, ""))
    wide = max(map(len, rows.values()))
    inner = wide * BOX_WIDTH + (wide - 1) * GAP_X
    at: dict[str, Box] = {}
    for layer, names in rows.items():
        used = len(names) * BOX_WIDTH + (len(names) - 1) * GAP_X
        for place, (key, stage) in enumerate(names):
            x = (inner - used) // 2 + place * (BOX_WIDTH + GAP_X)
            at[key] = Box(key, stage, x, layer * (BOX_HEIGHT + GAP_Y))
    layers = {_key(node.name): node.layer for node in graph.stages} | {INPUT: 0, OUTPUT: last}
    ends = [(_key(edge.source), _key(node.name)) for node in graph.stages for edge in node.takes]
    ends += [(_key(edge.source), OUTPUT) for edge in graph.outputs]
    pairs = list(dict.fromkeys(ends))
    passed = max((layers[end] - layers[start] - 1 for start, end in pairs), default=0)
    return Drawing(
        inner + BULGE * passed,
        last * (BOX_HEIGHT + GAP_Y) + BOX_HEIGHT,
        tuple(at.values()),
        tuple(
            _line(at[start], at[end], layers[end] - layers[start] - 1, inner)
            for start, end in pairs
        ),
    )


def _key(name: str) -> str:
    """Of a stage, so that it cannot be that of the output."""
    return INPUT if name == INPUT else f"stage-{name}"


def _line(start: Box, end: Box, passes: int, inner: int) -> str:
    """Down from box to box; around the layers between, on the right."""
    if passes == 0:
        x, y = start.x + BOX_WIDTH // 2, start.y + BOX_HEIGHT
        to_x, to_y = end.x + BOX_WIDTH // 2, end.y
        middle = (y + to_y) // 2
        return f"M{x} {y}C{x} {middle} {to_x} {middle} {to_x} {to_y}"
    x, y = start.x + BOX_WIDTH, start.y + BOX_HEIGHT // 2
    to_x, to_y = end.x + BOX_WIDTH, end.y + BOX_HEIGHT // 2
    # A curve goes three quarters of the way to its control points.
    side = inner + BULGE * passes * 4 // 3 - 4
    return f"M{x} {y}C{side} {y} {side} {to_y} {to_x} {to_y}"
