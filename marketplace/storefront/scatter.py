"""Coordinates of points and ticks for a scatter chart that the server draws as SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 84, 60, 30, 44
LABELS_LEFT_FROM = 0.7
TICKS_MIN = 3
MARKERS = (
    "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0Z",
    "M-5.5 -5.5h11v11h-11Z",
    "M0 -7L6.5 5h-13Z",
    "M0 -7L7 0L0 7L-7 0Z",
)
"""Circle, square, triangle and diamond, so that series differ without colour."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point; ``series`` is the number of its marker, ``url`` what it leads to, if anywhere."""

    x: float
    y: float
    series: int
    label: str
    title: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in units of the picture."""

    x: float
    y: float
    path: str
    series: int
    label: str
    title: str
    url: str

    @property
    def is_far_right(self) -> bool:
        """Whether its label belongs on its left, as there is little room beyond it."""
        return self.x > LABELS_LEFT_FROM * WIDTH


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick: ``at`` in units of the picture, and the value there as ``text``."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """The chart. Both axes begin at zero. The labels of its axes say what grows which way."""

    x_label: str
    y_label: str
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis is of, and how its numbers are written."""

    label: str
    text: Callable[[float], str]


def scatter(points: Sequence[Point], x: Axis, y: Axis) -> Scatter:
    """Lay out the points, with round numbers at the axes."""
    x_ticks = _ticks(max((point.x for point in points), default=0.0))
    y_ticks = _ticks(max((point.y for point in points), default=0.0))
    x_max, y_max = x_ticks[-1], y_ticks[-1]

    def x_at(value: float) -> float:
        return round(LEFT + value / x_max * (WIDTH - LEFT - RIGHT), 1)

    def y_at(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / y_max * (HEIGHT - TOP - BOTTOM), 1)

    return Scatter(
        x_label=x.label,
        y_label=y.label,
        marks=[
            Mark(
                x_at(point.x),
                y_at(point.y),
                MARKERS[point.series % len(MARKERS)],
                point.series,
                point.label,
                point.title,
                point.url,
            )
            for point in points
        ],
        x_ticks=[Tick(x_at(value), x.text(value)) for value in x_ticks],
        y_ticks=[Tick(y_at(value), y.text(value)) for value in y_ticks],
    )


def _ticks(highest: float) -> list[float]:
    """Ticks from zero to at least the highest value, in steps of 1, 2 or 5 times a power of ten."""
    if highest <= 0 or not math.isfinite(highest):
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / TICKS_MIN))
    steps = [factor * power for factor in (2, 5) if factor * power * TICKS_MIN <= highest]
    step = max(steps, default=power)
    return [i * step for i in range(math.ceil(highest / step - 1e-9) + 1)]
