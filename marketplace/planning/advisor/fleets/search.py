"""The check: a fleet that the simulator shows to meet the SLO, and then a cheaper one near it.

1. The integer program proposes the cheapest fleet by the queueing model.
2. The simulator judges it. A fleet that misses is cut, and the program is asked again, for
   more than the peak rate.
3. From the first fleet that meets the SLO a local search goes on, as long as a neighbour is cheaper
   and meets it too (:func:`.program.neighbours`).

A fleet with fewer instances than one that misses is not judged: it is taken to miss as well.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from marketplace.planning.advisor.fleets.emulation import STAGES, Emulated, Verdict, emulate
from marketplace.planning.advisor.fleets.model import parts_of
from marketplace.planning.advisor.fleets.option import Option
from marketplace.planning.advisor.fleets.program import (
    RATE_SLACK,
    Counts,
    cheapest,
    cost_of,
    covers,
    neighbours,
)
from marketplace.planning.advisor.question import Question

PROPOSALS_MAX = 8
MARGIN = 0.05
"""Of the peak rate: what the second proposal must carry more than the first, which missed. It
doubles with each one that misses.
"""
NEIGHBOURS_MAX = 12
"""Neighbours of one fleet that are judged, the most likely to meet the SLO first."""
NEAREST_MAX = 5
CONFIRM_CALLS = 24_000

Progress = Callable[[str, int], None]


class Simulate(Protocol):
    """:func:`.emulation.emulate`."""

    def __call__(
        self,
        options: Sequence[Option],
        counts: Counts,
        question: Question,
        *,
        seed: int,
        stages: Sequence[int],
        in_time: Callable[[], bool],
    ) -> Emulated: ...


class Near(Struct, frozen=True):
    """A fleet that was judged and did not meet the SLO: its cost an hour, and its share within."""

    fleet: dict[str, int]
    cost_usd: float
    verdict: Verdict
    within: tuple[float, float, float]


class Checked(Struct, frozen=True):
    """What the check found. ``complete`` says that the search ended before its time was over."""

    counts: Counts | None
    figures: Emulated | None
    proposed: Counts | None
    proposed_verdict: str
    runs: int
    nearest: tuple[Near, ...]
    complete: bool
    seconds: float
    seed: int
    judged: int = 0


class Search:
    """One check of one question; ``options`` are those that may be chosen."""

    def __init__(
        self,
        question: Question,
        options: Sequence[Option],
        *,
        seed: int,
        seconds_max: float,
        progress: Progress = lambda stage, runs: None,
        simulate: Simulate = emulate,
    ) -> None:
        self._question = question
        self._options = list(options)
        self._seed = seed
        self._begun = time.monotonic()
        self._seconds_max = seconds_max
        self._progress = progress
        self._simulate = simulate
        self._costs = [option.cost_usd for option in options]
        self._parts = parts_of(question, options)
        self._runs: dict[tuple[Counts, int], Emulated] = {}
        self._missed: list[Counts] = []
        self._near: list[Near] = []
        self._judged = 0

    def run(self) -> Checked:
        """Propose until a fleet meets the SLO, and improve it, or until the time is over."""
        proposed = fleet = self._propose(0.0)
        first = Verdict.BORDERLINE
        meets = False
        for attempt in range(1, PROPOSALS_MAX + 1):
            if fleet is None or not self._in_time:
                break
            verdict = self.judge(fleet)
            first = verdict if attempt == 1 else first
            if meets := verdict is Verdict.MEETS:
                break
            fleet = self._propose(MARGIN * 2 ** (attempt - 1)) or self._propose(0.0)
        best = self._improved(fleet) if fleet is not None and meets else None
        return Checked(
            counts=best,
            figures=self._runs[best, CONFIRM_CALLS] if best else None,
            proposed=proposed,
            proposed_verdict=first.value if self._judged else "",
            runs=len(self._runs),
            nearest=tuple(sorted(self._near, key=lambda near: -near.within[0])[:NEAREST_MAX]),
            complete=self._in_time,
            seconds=time.monotonic() - self._begun,
            seed=self._seed,
            judged=self._judged,
        )

    @property
    def _in_time(self) -> bool:
        return time.monotonic() - self._begun < self._seconds_max

    def _propose(self, margin: float) -> Counts | None:
        question = self._question
        rate_hz = question.peak_hz * (1 + margin)
        return cheapest(
            parts_of(question, self._options, rate_hz=rate_hz),
            rate_hz,
            budget=question.budget_usd,
            spare=question.spare,
            cuts=self._missed,
        )

    def _improved(self, fleet: Counts) -> Counts:
        """The end of a chain of fleets that meet the SLO, each a cheaper neighbour of the last."""
        better: Counts | None = fleet
        while better is not None:
            fleet = better
            better = next((near for near in self._neighbours(fleet) if self._meets(near)), None)
        return fleet

    def _neighbours(self, fleet: Counts) -> Iterator[Counts]:
        """Those worth judging, by the model's rate; one that misses may spare others after it."""
        serving = [near for near in neighbours(self._costs, fleet) if self._serves(near)]
        judged_before = self._judged
        for near in sorted(serving, key=lambda near: (-self._carried_hz(near), near)):
            if self._judged - judged_before == NEIGHBOURS_MAX or not self._in_time:
                return
            if not any(covers(missed, near) for missed in self._missed):
                yield near

    def _carried_hz(self, fleet: Counts) -> float:
        return sum(part.rate_hz(n) for part, n in zip(self._parts, fleet, strict=True))

    def _capacity_hz(self, fleet: Counts) -> float:
        return sum(o.capacity_hz * n for o, n in zip(self._options, fleet, strict=True))

    def _serves(self, fleet: Counts) -> bool:
        """Whether a fleet has the capacity, and an option that is fast enough, to be run at all."""
        peak_hz = self._question.peak_hz * (1 - RATE_SLACK)
        return self._capacity_hz(fleet) * self._question.utilisation_max >= peak_hz and all(
            self._capacity_hz(left) >= peak_hz and self._carried_hz(left)
            for left in self._to_hold(fleet)
        )

    def _to_hold(self, fleet: Counts) -> list[Counts]:
        """The fleets that have to meet the SLO: it, or with a spare it less any one instance."""
        if not self._question.spare:
            return [fleet]
        return [
            tuple(n - (i == lost) for i, n in enumerate(fleet))
            for lost, count in enumerate(fleet)
            if count
        ]

    def _meets(self, fleet: Counts) -> bool:
        return self.judge(fleet) is Verdict.MEETS

    def judge(self, fleet: Counts) -> Verdict:
        """Whether a fleet meets the SLO, with a spare also where any one instance is gone.

        What meets it is run again, longer and on other arrivals: of many fleets, one meets by luck.
        """
        self._judged += 1
        self._progress("judging", len(self._runs))
        for left in self._to_hold(fleet):
            run = self._run(left, *STAGES)
            if run.verdict is not Verdict.MEETS:
                return self._reject(fleet, run, run.verdict)
        for left in self._to_hold(fleet):
            run = self._run(left, CONFIRM_CALLS)
            if run.verdict is not Verdict.MEETS:
                return self._reject(fleet, run, Verdict.BORDERLINE)
        if self._question.spare:
            self._run(fleet, CONFIRM_CALLS)
        return Verdict.MEETS

    def _reject(self, fleet: Counts, run: Emulated, verdict: Verdict) -> Verdict:
        self._missed.append(fleet)
        named = {o.name: n for o, n in zip(self._options, fleet, strict=True) if n}
        self._near.append(Near(named, cost_of(self._parts, fleet), run.verdict, run.within))
        return verdict

    def _run(self, fleet: Counts, *stages: int) -> Emulated:
        key = (fleet, stages[0])
        if key not in self._runs:
            self._runs[key] = self._simulate(
                self._options,
                fleet,
                self._question,
                seed=self._seed + (stages[0] == CONFIRM_CALLS),
                stages=stages,
                in_time=lambda: self._in_time,
            )
        return self._runs[key]
