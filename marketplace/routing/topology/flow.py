"""Coordinates of the flow diagram: routers, queues and pools from left to right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import TypeVar

from marketplace.routing.topology.picture import PoolBox, Queue, RouterRow, Topology, Voice

ROWS_MAX = 16
"""Boxes in a column at most, the busiest; the tables have all."""

WIDTH = 960
BOX_HEIGHT, ROW_HEIGHT, TOP = 36, 46, 4
COLUMNS = {"router": (0, 170), "queue": (270, 330), "pool": (720, 240)}
"""Left edge and width."""

NAME_CHARACTERS = {"router": 20, "queue": 40, "pool": 28}
STROKE_MAX = 9.0
QUEUE_FULL = 20
"""Waiting calls that fill a queue's bar."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box; ``bar`` is the filled part of its lower edge, in pixels."""

    kind: str
    name: str
    title: str
    x: int
    y: int
    width: int
    said: str
    bar: float
    emulated: bool = False
    is_faint: bool = False

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def middle(self) -> float:
        return self.y + BOX_HEIGHT / 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line: an SVG ``path``; ``stroke`` in pixels, dashed if nothing flows."""

    path: str
    stroke: float
    is_idle: bool


@dataclass(frozen=True, slots=True)
class Flow:
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    height: int
    left_out: int
    width: int = WIDTH
    box_height: int = BOX_HEIGHT


T = TypeVar("T")


def busiest(rows: Sequence[T], most: int, by: Callable[[T], tuple[float, ...]]) -> list[T]:
    """The ``most`` rows that are highest by ``by``, in their original order."""
    chosen = sorted(range(len(rows)), key=lambda i: by(rows[i]), reverse=True)[:most]
    return [rows[i] for i in sorted(chosen)]


def flow_of(topology: Topology) -> Flow:
    """Lay out the busiest of each kind, in a stable order."""
    routers = busiest(topology.routers, ROWS_MAX, lambda row: (row.waiting, row.in_flight))
    queues = busiest(topology.queues, ROWS_MAX, _weight)
    pools = busiest(topology.pools, ROWS_MAX, lambda box: (box.in_flight, box.slots))
    rows = max(len(routers), len(queues), len(pools), 1)
    boxes = {
        "router": [_router(row, *at) for row, at in _placed("router", routers, rows)],
        "queue": [_queue(row, *at) for row, at in _placed("queue", queues, rows)],
        "pool": [_pool(row, *at) for row, at in _placed("pool", pools, rows)],
    }
    total = len(topology.routers) + len(topology.queues) + len(topology.pools)
    return Flow(
        boxes=tuple(box for column in boxes.values() for box in column),
        lines=_lines(topology, {k: {b.title: b for b in column} for k, column in boxes.items()}),
        height=TOP * 2 + rows * ROW_HEIGHT,
        left_out=total - sum(map(len, boxes.values())),
    )


def _weight(queue: Queue) -> tuple[float, ...]:
    return queue.waiting, queue.in_flight, queue.ended_hz or 0.0


def _placed(kind: str, column: Sequence[T], rows: int) -> Iterator[tuple[T, tuple[int, int, int]]]:
    """Each row with left, top and width; shorter columns are centred on the longest."""
    left, width = COLUMNS[kind]
    top = TOP + (rows - len(column)) * ROW_HEIGHT / 2
    for i, row in enumerate(column):
        yield row, (left, round(top + i * ROW_HEIGHT), width)


def _router(row: RouterRow, x: int, y: int, width: int) -> Box:
    name = _short("router", row.router_id)
    is_faint = row.voice is not Voice.ANSWERS
    rate = "–" if row.ended_hz is None else f"{row.ended_hz:.1f}/s"
    return Box("router", name, row.router_id, x, y, width, rate, 0.0, is_faint=is_faint)


def _queue(queue: Queue, x: int, y: int, width: int) -> Box:
    name = _short("queue", queue.model.name)
    filled = min(queue.waiting / QUEUE_FULL, 1.0) * width
    return Box(
        "queue",
        name,
        queue.model.name,
        x,
        y,
        width,
        str(queue.waiting),
        filled,
        queue.model.emulated,
    )


def _pool(box: PoolBox, x: int, y: int, width: int) -> Box:
    name = _short("pool", box.pool.name)
    filled = min(box.in_flight / box.slots, 1.0) * width if box.slots else 0.0
    text = f"{box.in_flight}/{box.slots}"
    return Box("pool", name, box.pool.name, x, y, width, text, filled, box.pool.emulated)


def _lines(topology: Topology, boxes: dict[str, dict[str, Box]]) -> tuple[Line, ...]:
    lines = []
    for queue in topology.queues:
        for router, waiting, hz in queue.by_router:
            lines.append(
                _line(
                    boxes["router"].get(router),
                    boxes["queue"].get(queue.model.name),
                    waiting + (hz or 0.0),
                )
            )
    for model, pool, in_flight in topology.flows:
        lines.append(_line(boxes["queue"].get(model), boxes["pool"].get(pool), in_flight))
    # Thicker lines are drawn on top.
    return tuple(sorted((line for line in lines if line), key=lambda line: line.stroke))


def _line(start: Box | None, end: Box | None, amount: float) -> Line | None:
    if start is None or end is None:
        return None
    bend = (start.right + end.x) / 2
    path = (
        f"M{start.right} {start.middle:g}C{bend:g} {start.middle:g} {bend:g} {end.middle:g} "
        f"{end.x} {end.middle:g}"
    )
    return Line(path, round(min(1.0 + 1.6 * log2(1.0 + amount), STROKE_MAX), 1), not amount)


def _short(kind: str, name: str) -> str:
    most = NAME_CHARACTERS[kind]
    return name if len(name) <= most else f"{name[: most - 1]}…"
