"""The check: the cheapest fleet that meets the SLO in the simulator, and no cheaper one that does.

The integer program proposes; the simulator confirms; a fleet that misses is cut away with every
fleet that lies within it, and the program proposes again. Then every cheaper fleet of the catalogue
is dealt with: it lies within one to which nothing can be added at that cost, and those are ruled
out by a bound (:mod:`.fluid`) or run. One that meets becomes the answer, and it begins again below
its cost. That fleets within one that misses miss too is taken for granted: fewer instances are no
help.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from marketplace.planning.advisor.emulation import Emulated, Verdict, emulate
from marketplace.planning.advisor.fluid import best_hz, share_at_most
from marketplace.planning.advisor.model import COUNT_MAX, parts_of
from marketplace.planning.advisor.option import Option
from marketplace.planning.advisor.program import (
    MIXED_MAX,
    RATE_SLACK,
    Counts,
    Part,
    cheapest,
    cost_of,
    covers,
    largest_below,
)
from marketplace.planning.advisor.question import Question

PROPOSALS_MAX = 12
CONFIRM_CALLS = 24_000
REACH = 4.0
"""Without a budget, where the program's fleets all miss: up to so many times the least cost that
carries the rate at all."""

Progress = Callable[[str, int], None]


class Near(Struct, frozen=True):
    """A cheaper fleet that was run: what it costs an hour, and its share within the SLO."""

    fleet: dict[str, int]
    cost_usd: float
    verdict: Verdict
    within: tuple[float, float, float]


class Checked(Struct, frozen=True):
    """What the check found. ``complete`` is whether every cheaper fleet was dealt with in time."""

    counts: Counts | None
    figures: Emulated | None
    proposed: Counts | None
    proposed_verdict: str
    runs: int
    ruled_out: int
    left: int
    nearest: tuple[Near, ...]
    complete: bool
    seconds: float
    seed: int


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
    ) -> None:
        self._question = question
        self._options = list(options)
        self._seed = seed
        self._begun = time.monotonic()
        self._seconds_max = seconds_max
        self._progress = progress
        self._costs = [option.cost_usd for option in options]
        self._parts = parts_of(question, options)
        self._runs: dict[Counts, Emulated] = {}
        self._confirmed: dict[Counts, Emulated] = {}
        self._missed: list[Counts] = []
        self._ruled_out: set[Counts] = set()
        self._near: list[Near] = []

    def run(self) -> Checked:
        """Search until every cheaper fleet is dealt with or the time is over."""
        proposed = best = self._cheapest()
        verdict = ""
        for _ in range(PROPOSALS_MAX):
            if best is None or not self._in_time:
                break
            self._progress("proposed", len(self._runs))
            judged = self.judge(best)
            verdict = verdict or judged.value
            if judged is Verdict.MEETS:
                break
            self._missed.append(best)
            best = self._cheapest()
        else:
            best = None
        left = self._cheaper(best) if self._in_time else None
        if left is not None:
            best, undone = left
        else:
            undone = 1
        figures = self._confirmed.get(best) if best is not None else None
        if best is not None and figures is None:
            best = None  # Time was over before it was shown.
        return Checked(
            counts=best,
            figures=figures,
            proposed=proposed,
            proposed_verdict=verdict,
            runs=len(self._runs) + len(self._confirmed),
            ruled_out=len(self._ruled_out),
            left=undone,
            nearest=tuple(sorted(self._near, key=lambda near: -near.within[0])[:5]),
            complete=not undone,
            seconds=time.monotonic() - self._begun,
            seed=self._seed,
        )

    @property
    def _in_time(self) -> bool:
        return time.monotonic() - self._begun < self._seconds_max

    def _cheapest(self) -> Counts | None:
        return cheapest(
            self._parts,
            self._question.peak_hz,
            budget=self._question.budget_usd,
            spare=self._question.spare,
            cuts=self._missed,
        )

    def _cheaper(self, best: Counts | None) -> tuple[Counts | None, int]:
        """The best fleet once those below it are dealt with, and how many there was no time for."""
        while True:
            cost = cost_of(self._parts, best) if best is not None else self._reach()
            waiting = self.worth_running(cost)
            better = None
            for done, fleet in enumerate(waiting):
                if not self._in_time:
                    return best, len(waiting) - done
                if any(covers(missed, fleet) for missed in self._missed):
                    continue
                self._progress("cheaper", len(self._runs))
                if self._meets(fleet):
                    better = fleet
                    break
                self._missed.append(fleet)
            if better is None:
                return best, 0
            best = better

    def _reach(self) -> float:
        """The cost below which to look where the program found nothing."""
        question = self._question
        carried = question.utilisation_max
        parts = [
            Part(
                option.cost_usd,
                tuple(n * option.capacity_hz * carried for n in range(1, COUNT_MAX + 1)),
            )
            for option in self._options
        ]
        least = cheapest(parts, question.peak_hz, budget=question.budget_usd, spare=question.spare)
        if least is None:
            return 0.0
        reach = REACH * cost_of(parts, least)
        # The budget itself may be spent.
        return min(reach, question.budget_usd * (1 + 1e-6)) if question.budget_usd else reach

    def worth_running(self, cost: float) -> list[Counts]:
        """The largest fleets below a cost that no bound rules out, the most promising first."""
        fleets = largest_below(self._costs, cost, [COUNT_MAX] * len(self._costs), MIXED_MAX)
        found: list[tuple[float, Counts]] = []
        for fleet in fleets:
            if any(covers(missed, fleet) for missed in self._missed) or fleet in self._ruled_out:
                continue
            bound = self._bound(fleet)
            if bound < self._question.share:
                self._ruled_out.add(fleet)
            else:
                found.append((bound, fleet))
        return [fleet for _, fleet in sorted(found, key=lambda one: (-one[0], one[1]))]

    def _bound(self, fleet: Counts) -> float:
        """What share within the SLO nothing could beat; 0 where the rate cannot be served."""
        question, peak = self._question, self._question.peak_hz
        capacity = sum(n * o.capacity_hz for n, o in zip(fleet, self._options, strict=True))
        if capacity * question.utilisation_max < peak * (1 - RATE_SLACK):
            return 0.0
        bound = 1.0
        for left in self._to_hold(fleet):
            most = sum(n * best_hz(o) for n, o in zip(left, self._options, strict=True))
            if most < peak:
                return 0.0
            bound = min(
                bound,
                share_at_most(
                    self._options,
                    left,
                    rate_hz=peak,
                    slo_ms=question.slo_ms,
                    cv=question.size_cv,
                ),
            )
        return bound

    def _to_hold(self, fleet: Counts) -> list[Counts]:
        """The fleets that have to meet the SLO: it, or with a spare it less any one instance."""
        if not self._question.spare:
            return [fleet]
        return [
            tuple(n - (i == lost) for i, n in enumerate(fleet))
            for lost, count in enumerate(fleet)
            if count
        ]

    def judge(self, fleet: Counts) -> Verdict:
        """Whether a fleet meets the SLO, with a spare also where any one instance is gone."""
        if self._bound(fleet) < self._question.share:
            self._ruled_out.add(fleet)
            return Verdict.MISSES
        for left in self._to_hold(fleet):
            run = self._run(left)
            if run.verdict is not Verdict.MEETS:
                self._note(fleet, run)
                return run.verdict
        for left in self._to_hold(fleet):
            again = self._confirm(left)
            if again.verdict is not Verdict.MEETS:
                self._note(fleet, again)
                return Verdict.BORDERLINE
        if self._question.spare:
            self._confirm(fleet)
        return Verdict.MEETS

    def _meets(self, fleet: Counts) -> bool:
        return self.judge(fleet) is Verdict.MEETS

    def _run(self, fleet: Counts) -> Emulated:
        if fleet not in self._runs:
            self._runs[fleet] = emulate(
                self._options,
                fleet,
                self._question,
                seed=self._seed,
                in_time=lambda: self._in_time,
            )
        return self._runs[fleet]

    def _confirm(self, fleet: Counts) -> Emulated:
        """A longer run on arrivals of its own: of many fleets tried, one meets by luck."""
        if fleet not in self._confirmed:
            self._confirmed[fleet] = emulate(
                self._options,
                fleet,
                self._question,
                seed=self._seed + 1,
                stages=(CONFIRM_CALLS,),
            )
        return self._confirmed[fleet]

    def _note(self, fleet: Counts, run: Emulated) -> None:
        named = {o.name: n for o, n in zip(self._options, fleet, strict=True) if n}
        self._near.append(Near(named, cost_of(self._parts, fleet), run.verdict, run.within))
