"""What callers saw, from the log that the load keeps: one JSON object a call. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.load import slo
from tests.load.company.faults import Window


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: when it began (Unix seconds), how long its parts took, and how it ended."""

    at_s: float
    kind: str
    status: int
    ok: bool
    first_ms: float
    total_ms: float
    request_id: str

    @property
    def until_s(self) -> float:
        return self.at_s + self.total_ms / 1e3


@dataclass(frozen=True, slots=True)
class Felt:
    """Calls that a fault may have touched. ``longest_s`` is the longest time without an answer."""

    window: Window
    calls: int
    failed: dict[int, int]
    longest_s: float


def read(lines: Iterable[str]) -> list[Seen]:
    """In the order of their beginnings."""
    return sorted((Seen(**json.loads(line)) for line in lines), key=lambda one: one.at_s)


def felt(calls: Sequence[Seen], window: Window) -> Felt:
    """What one fault did; ``failed`` counts by HTTP status, 0 is no answer at all."""
    touched = [one for one in calls if window.overlaps(one.at_s, one.until_s)]
    failed: dict[int, int] = {}
    for one in touched:
        if not one.ok:
            failed[one.status] = failed.get(one.status, 0) + 1
    answers = sorted(one.until_s for one in touched if one.ok)
    marks = [window.from_s, *(a for a in answers if a < window.until_s), window.until_s]
    longest_s = max(later - sooner for sooner, later in pairwise(marks))
    return Felt(window, len(touched), failed, longest_s)


def outside(
    calls: Sequence[Seen], windows: Sequence[Window], slos_ms: dict[tuple[str, str], float]
) -> dict[tuple[str, str], slo.Attainment]:
    """How objectives were met by calls that no fault touched."""
    attained = slo.fresh(slos_ms)
    for one in calls:
        if any(window.overlaps(one.at_s, one.until_s) for window in windows):
            continue
        attained[one.kind, "total"].add(one.total_ms, failed=not one.ok)
        if one.kind == "streamed":
            attained[one.kind, slo.FIRST_BYTE].add(one.first_ms, failed=not one.ok)
    return attained
