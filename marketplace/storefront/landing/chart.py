"""Two lines and the space between them, as paths of SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from marketplace.storefront.landing.replay import Replay

WIDTH, HEIGHT = 600, 200
TOPS = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths in a picture of ``width`` × ``height``; the axis goes from 0 to ``top_ms``."""

    round_robin: str
    ours: str
    between: str
    top_ms: float
    width: int = WIDTH
    height: int = HEIGHT


def chart_of(replay: Replay) -> Chart:
    """Both lines on one axis."""
    upper, lower = replay.round_robin.means_ms, replay.ours.means_ms
    top_ms = rounded_up(max(*upper, *lower))
    there, back = _points(upper, top_ms), _points(lower, top_ms)
    return Chart(
        round_robin=f"M{'L'.join(there)}",
        ours=f"M{'L'.join(back)}",
        between=f"M{'L'.join([*there, *reversed(back)])}Z",
        top_ms=top_ms,
    )


def rounded_up(value: float) -> float:
    """The next of :data:`TOPS` times a power of ten; for a positive value."""
    unit = 10.0 ** floor(log10(value))
    return next(top * unit for top in TOPS if top * unit >= value)


def _points(values_ms: Sequence[float], top_ms: float) -> list[str]:
    step = WIDTH / (len(values_ms) - 1)
    return [
        f"{place * step:.1f} {HEIGHT * (1 - value / top_ms):.1f}"
        for place, value in enumerate(values_ms)
    ]
