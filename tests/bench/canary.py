"""``python -m tests.bench.canary``: what a proposal on trial costs before it is stopped.

The real scheduler under virtual time with two arms, as a route on trial has them, and the trial's
own rules (:mod:`marketplace.tuning.trials.trial`) with a look every five seconds. Each proposal
is tried with several seeds. EMULATED hardware: the study's fleet of the simulator.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from marketplace.tuning.trials.trial import Action, Arm, Decision, Evidence, Rules, decide
from router.domain.catalog import Canary, Policy
from router.simulator.slots.scenarios import STUDY_MS, capacity_hz, fleet
from router.simulator.slots.simulation import MODEL, Result, Setup, Simulation
from router.simulator.workload import Arrival, merged, poisson

LOOK_EVERY_S = 5.0
SETTLE_S = 2.0
WARM_UP_S = 20.0
"""The policy in force runs alone first, so that the scheduler knows its fleet."""
DAY_S = 86_400.0
SLO_MS = 500.0
ERROR_BUDGET = 0.01
SHARE = 0.1
SAMPLES_MIN = 200

BASELINE = Policy(1, 1, MODEL)
INVERTED = {
    kind: round(max(0.1, min(10.0, service_ms / 100.0)), 2)
    for kind, (service_ms, _count) in enumerate(STUDY_MS, start=1)
}
"""Weights that assume a slower class to be faster."""
PROPOSALS: dict[str, tuple[Policy, Policy]] = {
    "round robin": (BASELINE, Policy(2, 2, MODEL, kind="round_robin")),
    "weights inverted": (BASELINE, Policy(2, 2, MODEL, weights=INVERTED)),
    "better of two at random": (BASELINE, Policy(2, 2, MODEL, kind="power_of_two")),
    "nothing changed": (BASELINE, Policy(2, 2, MODEL)),
    "late binding, over least outstanding": (
        Policy(1, 1, MODEL, kind="least_outstanding"),
        Policy(2, 2, MODEL),
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One trial to its end. ``budget_spent`` is the share of the day's error budget that it cost,
    with the calls that were on their way when it was stopped.
    """

    action: str
    reason: str
    seconds: float
    canary_calls: int
    canary_misses: int
    budget_spent: float


class Trying:
    """Runs a simulation, checks every few seconds, and removes the canary when required."""

    def __init__(self, simulation: Simulation, canary: Canary, rules: Rules) -> None:
        self._simulation = simulation
        self._canary = canary
        self._rules = rules
        self._seen = 0
        self._sums = {1: [0, 0, 0, 0.0, 0.0], 2: [0, 0, 0, 0.0, 0.0]}
        self.decision: Decision | None = None
        self.ended_s = math.inf

    def feed(self, arrivals: Iterable[Arrival], until_s: float) -> Iterator[Arrival]:
        """The arrivals, for the simulation to pull: time passes as it does."""
        look_s = WARM_UP_S + SETTLE_S + LOOK_EVERY_S
        for arrival in arrivals:
            if arrival.at_s >= WARM_UP_S and self.decision is None:
                self._simulation.canary = self._canary
            while arrival.at_s >= look_s and self.ended_s == math.inf:
                self._look(look_s)
                look_s += LOOK_EVERY_S
            if arrival.at_s > min(until_s, self.ended_s + SETTLE_S):
                return
            yield arrival

    def evidence(self, elapsed_s: float) -> Evidence:
        """What has ended by now."""
        results = self._simulation.results
        for result in itertools.islice(results, self._seen, None):
            if result.at_s >= WARM_UP_S + SETTLE_S:
                self._count(result)
        self._seen = len(results)
        return Evidence(_arm(self._sums[1]), _arm(self._sums[2]), elapsed_s)

    def _look(self, now_s: float) -> None:
        decision = decide(self._rules, self.evidence(now_s - WARM_UP_S))
        if decision.action is not Action.GO_ON:
            self.decision, self.ended_s = decision, now_s
            self._simulation.canary = None

    def _count(self, result: Result) -> None:
        if result.policy_id == 1 and result.at_s > self.ended_s:
            return
        sums = self._sums[result.policy_id]
        sums[0] += 1
        sums[1] += bool(result.error) or result.latency_s * 1e3 > SLO_MS
        if not result.error:
            log_ms = math.log(result.latency_s * 1e3)
            sums[2] += 1
            sums[3] += log_ms
            sums[4] += log_ms**2


def trial(name: str, *, load: float = 0.7, seed: int = 1, minutes_max: float = 60.0) -> Run:
    """Try one of ``PROPOSALS`` at a load (share of the fleet's capacity)."""
    baseline, proposal = PROPOSALS[name]
    machines = fleet()
    rate_hz = load * capacity_hz(machines)
    rules = Rules(
        share=SHARE,
        samples_min=SAMPLES_MIN,
        error_budget=ERROR_BUDGET,
        budget_calls=rate_hz * DAY_S * ERROR_BUDGET,
        time_max_s=minutes_max * 60,
    )
    simulation = Simulation(Setup(machines, policy=baseline), seed)
    trying = Trying(simulation, Canary(proposal, SHARE), rules)
    arrivals = merged([poisson(rate_hz)], Random(f"arrivals-{seed}"))
    until_s = WARM_UP_S + minutes_max * 60 + LOOK_EVERY_S
    simulation.run(trying.feed(arrivals, until_s), sys.maxsize)
    end = trying.evidence(trying.ended_s - WARM_UP_S)
    decision = trying.decision
    if decision is None:
        raise RuntimeError(f"the trial of {name!r} did not end")
    excess = end.canary.misses - end.canary.calls * end.control.miss_rate
    return Run(
        action=decision.action.value,
        reason=decision.reason.value,
        seconds=trying.ended_s - WARM_UP_S,
        canary_calls=end.canary.calls,
        canary_misses=end.canary.misses,
        budget_spent=max(excess, 0.0) / rules.budget_calls,
    )


def _arm(sums: list[float]) -> Arm:
    calls, misses, answered, total, squares = sums
    mean = total / answered if answered else 0.0
    variance = (squares - answered * mean**2) / (answered - 1) if answered > 1 else 0.0
    return Arm(int(calls), int(misses), int(answered), mean, max(variance, 0.0))


def main() -> int:
    """Run, print; 2 for a bad argument."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.canary", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--load", type=float, default=0.7, help="share of the fleet's capacity")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10.0, help="a trial lasts at most")
    parser.add_argument("--json", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if not 0 < arguments.load < 1 or arguments.seeds < 1 or arguments.minutes <= 0:
        parser.error("the load must lie between 0 and 1, seeds and minutes must be positive")
    print(
        f"EMULATED hardware, load {arguments.load:g}, canary on {SHARE:.0%} of the calls, SLO "
        f"{SLO_MS:g} ms, error budget {ERROR_BUDGET:.1%} of a day's calls, {arguments.seeds} seeds"
    )
    print(f"{'proposal':38s} {'ends':24s} {'after, s':>10s} {'calls':>7s} {'of the budget':>14s}")
    by_name: dict[str, list[Run]] = {}
    for name in PROPOSALS:
        runs = [
            trial(name, load=arguments.load, seed=seed, minutes_max=arguments.minutes)
            for seed in range(1, arguments.seeds + 1)
        ]
        by_name[name] = runs
        ends = ", ".join(sorted({f"{run.action} ({run.reason})" for run in runs}))
        longest = max(run.seconds for run in runs)
        spent = max(run.budget_spent for run in runs)
        calls = max(run.canary_calls for run in runs)
        print(f"{name:38s} {ends:24s} {longest:10.0f} {calls:7d} {spent:14.4%}", flush=True)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(by_name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
