"""Calls that wait for a pool with no workers to start one: their order, and how long it takes.

A pool's start is first believed to take what is declared, and then what starts took.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from router.scheduling.waiting.admission import may_wait
from router.scheduling.waiting.standing import Standing

LEARNING = 0.5
"""Weight of the newest start: the next one is most like it."""

LEFT_LEAST = 0.25
"""Of a start that takes longer than expected, this share at least is expected to be left."""


@dataclass(slots=True)
class _Line:
    """The calls of one model. ``numbers`` are those of the calls in it, ascending."""

    since_s: float
    pools: Mapping[str, float]
    numbers: list[int] = field(default_factory=list[int])
    left_s: float = inf
    """Since when nobody is in it."""


class Starts:
    """See the module. ``waiting_max`` bounds how many calls may wait."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._lines: dict[str, _Line] = {}
        self._calls: dict[str, tuple[int, str, int]] = {}
        self._own: dict[int, int] = {}
        self._learned: dict[str, float] = {}
        self._added = 0

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._calls)

    @property
    def waiting_by_model(self) -> dict[str, int]:
        """The same by model, for models that have any."""
        return {model: len(line.numbers) for model, line in self._lines.items() if line.numbers}

    def arrive(
        self, call_id: str, model: str, tenant: int, pools: Mapping[str, float], now_s: float
    ) -> Standing | None:
        """Let a call wait for any of these pools, with the declared seconds of their starts.

        Returns where it stands; None if too many wait, of its tenant or in total.
        """
        own = self._own.get(tenant, 0)
        if not may_wait(own, self.waiting, self._waiting_max):
            return None
        line = self._lines.get(model)
        if line is None or now_s - line.left_s > self._start_s(line):
            line = self._lines[model] = _Line(now_s, pools)
        line.pools, line.left_s = pools, inf
        self._added += 1
        line.numbers.append(self._added)
        self._calls[call_id] = self._added, model, tenant
        self._own[tenant] = own + 1
        return Standing(len(line.numbers), self._eta_s(line, now_s), model, tenant)

    def leave(self, call_id: str, now_s: float) -> None:
        """A call waits no longer."""
        number, model, tenant = self._calls.pop(call_id)
        self._own[tenant] -= 1
        if not self._own[tenant]:
            del self._own[tenant]
        line = self._lines.get(model)
        if line is None:
            return
        place = bisect_left(line.numbers, number)
        if place < len(line.numbers) and line.numbers[place] == number:
            del line.numbers[place]
        if not line.numbers:
            # Its start goes on: whoever comes before it is over waits for the rest of it.
            line.left_s = now_s

    def started(self, model: str, pools: Sequence[str], now_s: float) -> None:
        """A worker of these pools takes calls to the model now."""
        line = self._lines.pop(model, None)
        if line is None or not line.numbers:
            return
        for pool in pools:
            if pool in line.pools:
                took_s, known_s = now_s - line.since_s, self._learned.get(pool)
                self._learned[pool] = (
                    took_s if known_s is None else known_s + LEARNING * (took_s - known_s)
                )

    def standing(self, call_id: str, now_s: float) -> Standing | None:
        """Where a call stands; None if it does not wait."""
        known = self._calls.get(call_id)
        if known is None:
            return None
        number, model, tenant = known
        line = self._lines.get(model)
        if line is None:
            return None
        return Standing(
            bisect_left(line.numbers, number) + 1, self._eta_s(line, now_s), model, tenant
        )

    def _eta_s(self, line: _Line, now_s: float) -> float:
        start_s = self._start_s(line)
        return max(start_s - (now_s - line.since_s), LEFT_LEAST * start_s)

    def _start_s(self, line: _Line) -> float:
        return min(self._learned.get(pool, said_s) for pool, said_s in line.pools.items())
