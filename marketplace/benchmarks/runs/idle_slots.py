"""Live traffic comes first: whether a benchmark may use slots now. Pure, without Django."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of others: in flight on the workers, waiting in the router, ended just now."""

    in_flight: int = 0
    waiting: int = 0
    recent: int = 0


def must_yield(traffic: Traffic, *, wanted: int, slots: int) -> bool:
    """Whether ``wanted`` requests at once, on workers with ``slots`` in total, would be in the way.

    Alone, a benchmark may send more requests than there are slots.
    """
    if traffic.waiting:
        return True
    others = max(traffic.in_flight, 1 if traffic.recent else 0)
    return others > 0 and others + wanted > slots
