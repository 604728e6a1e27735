"""``python -m tests.bench.engine_change``: engines return as another version; who makes use of it.

Under virtual time: the real scheduler over a fleet of EMULATED LLM engines. Midway those of one
class restart, one after another, as a version that reads prompts three times as fast and has room
for a third of the KV cache. The scheduler alone goes on from what it has learned; with the loop the
class is benchmarked again, and the fit to these streams is published as the prior that it acts on.
``--write FILE`` puts the table between the markers of a document.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np

from marketplace.benchmarks.profiles.engine_fit import engine_fit
from router.domain.catalog import EngineCurve
from router.simulator.engines.batching import EngineSpec, EngineState
from router.simulator.engines.kv_cache import BLOCK_TOKENS, KvCache
from router.simulator.engines.scenarios import EngineScenario, engine_scenarios
from router.simulator.engines.scheduled import Scheduled
from router.simulator.engines.simulation import CUT_SHORT, EngineResult, EngineSimulation
from router.simulator.trouble import Event, Trouble
from tests.bench.drift.__main__ import write_between
from tests.bench.offline import kept_in_flight

READS_FASTER = 3.0
KV_SHARE = 1 / 3
WARM_UP_S = 10.0
CHANGE_S = 30.0
RESTART_S, APART_S = 2.0, 3.0
"""An engine is away for so long, and its next sibling goes so much later."""
BENCHMARKED_S = 15.0
"""From the first restart to the new prior: drift is tested each minute and a benchmark takes about
one, so the loop is four to eight times quicker here than it is."""
ENDS_S = 80.0
WINDOWS = ((-CHANGE_S + WARM_UP_S, 0.0), (0.0, 15.0), (15.0, 30.0), (30.0, 50.0))
"""Seconds from the first restart."""
RESAMPLES = 2_000

LOADS = (1, 2, 4, 8)
PROMPTS = (400, 1200, 3200)
"""A quarter, three quarters and twice what callers send, as a benchmark of a chat has them."""
ANSWER_EVENTS = 17


class Arm(StrEnum):
    """Who says what of the engines."""

    ALONE = "scheduler alone"
    """The benchmark from before the change, and what streams have shown since."""
    LOOP = "with the loop"
    """The same, and a new benchmark 15 seconds after the change."""
    KNEW = "knew"
    """The same, with that benchmark in the moment of the change."""


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario of the simulator at a share of its own rate. Engines of ``kind`` change, and
    are ``faster`` times as fast in all beside that.
    """

    scenario: str
    kind: str
    factor: float
    about: str
    faster: float = 1.0

    def played(self) -> EngineScenario:
        """The scenario with the restarts in it."""
        made = engine_scenarios(load_factor=self.factor)[self.scenario]
        engines, down_s = [], CHANGE_S
        for spec in made.engines:
            events: tuple[Event, ...] = ()
            if spec.kind == self.kind:
                events = (Event(Trouble.CRASH, down_s, down_s + RESTART_S),)
                down_s += APART_S
            engines.append(msgspec.structs.replace(spec, events=events))
        return msgspec.structs.replace(made, engines=tuple(engines), duration_s=ENDS_S)

    def changed(self, spec: EngineSpec) -> EngineSpec:
        """The next version of one of them."""
        return msgspec.structs.replace(
            spec,
            prefill_hz=spec.prefill_hz * READS_FASTER * self.faster,
            base_s=spec.base_s / self.faster,
            batch_s=spec.batch_s / self.faster,
            context_s=spec.context_s / self.faster,
            kv_tokens=round(spec.kv_tokens * KV_SHARE),
        )

    def replace_version(self, engine: EngineState) -> None:
        """While it is away: it comes back as another."""
        engine.spec = self.changed(engine.spec)
        engine.cache = KvCache(engine.spec.kv_tokens // BLOCK_TOKENS)


CASES = (
    Case("e-mixed50", "a100", 1.0, "single prompts at half of capacity, the A100s change"),
    Case("e-sess75", "a100", 1.0, "chat sessions at three quarters, the A100s change"),
    Case("e-mixed50", "rtx4090", 0.4, "single prompts at a fifth, the RTX 4090s change"),
    Case("e-mixed50", "cpu", 0.4, "the same, the CPUs change"),
    Case("e-mixed50", "cpu", 0.4, "the same, and the CPUs are eight times as fast in all", 8.0),
)


def benchmarked(spec: EngineSpec) -> EngineCurve:
    """What a benchmark of its streams says, of an engine with nothing else to do."""
    points = [
        kept_in_flight(EngineState(spec), load, prompts=PROMPTS, answer_events=ANSWER_EVENTS)
        for load in LOADS
    ]
    found = engine_fit(points)
    if found is None:
        raise ValueError(f"too few answers of {spec.name} to fit")
    return found.curve


def run(case: Case, arm: Arm, seed: int) -> list[EngineResult]:
    """One arm. A seed is the arrivals."""
    scenario = case.played()
    before = {spec.kind: spec for spec in scenario.engines}
    router = Scheduled(seed=seed, curves={kind: benchmarked(item) for kind, item in before.items()})
    simulation = EngineSimulation(scenario, router, seed)
    for engine in simulation.engines:
        for event in engine.spec.events:
            simulation.at((event.from_s + event.to_s) / 2, case.replace_version, engine)
    if arm is not Arm.ALONE:
        new = {case.kind: benchmarked(case.changed(before[case.kind]))}
        delay_s = BENCHMARKED_S if arm is Arm.LOOP else 0.0
        simulation.at(CHANGE_S + delay_s, router.benchmarked, new)
    return simulation.run()


def restarted(case: Case, arm: Arm, seed: int) -> list[EngineResult]:
    """The first seconds of a router that starts after the change, with the old or new benchmark."""
    made = engine_scenarios(load_factor=case.factor)[case.scenario]
    before = {spec.kind: spec for spec in made.engines}
    engines = tuple(
        case.changed(engine) if engine.kind == case.kind else engine for engine in made.engines
    )
    known = before if arm is Arm.ALONE else {engine.kind: engine for engine in engines}
    scenario = msgspec.structs.replace(made, engines=engines, duration_s=WINDOWS[1][1])
    router = Scheduled(
        seed=seed, curves={kind: benchmarked(engine) for kind, engine in known.items()}
    )
    return EngineSimulation(scenario, router, seed).run()


@dataclass(frozen=True, slots=True)
class Part:
    """Requests of one run that came within a window: milliseconds, and the changed class's share.

    Streams that a restart cut off are left out, which nobody can help; any other error counts as
    long as a caller waits.
    """

    latency_ms: tuple[float, ...]
    share: float

    @property
    def mean_ms(self) -> float:
        """Of them all."""
        return float(np.mean(self.latency_ms))


def part(
    results: Sequence[EngineResult], scenario: EngineScenario, kind: str, span: tuple[float, float]
) -> Part:
    """Those of a window, in seconds of the run."""
    inside = [
        result
        for result in results
        if span[0] <= result.at_s < span[1] and result.error != CUT_SHORT
    ]
    there = sum(not item.error and scenario.engines[item.engine].kind == kind for item in inside)
    patience_ms = scenario.client_timeout_s * 1e3
    return Part(
        tuple(patience_ms if item.error else item.latency_s * 1e3 for item in inside),
        there / len(inside),
    )


def measured(what: tuple[Case, Arm, int]) -> list[Part]:
    """The windows of one run, and the first seconds of a router that begins after it."""
    case, arm, seed = what
    scenario, results = case.played(), run(case, arm, seed)
    spans = [(CHANGE_S + from_s, CHANGE_S + to_s) for from_s, to_s in WINDOWS]
    parts = [part(results, scenario, case.kind, span) for span in spans]
    anew = restarted(case, arm, seed)
    return [*parts, part(anew, scenario, case.kind, (0.0, WINDOWS[1][1]))]


def table(cases: Sequence[Case], seeds: int, jobs: int) -> str:
    """All of it, in Markdown."""
    runs = [(case, arm, seed) for case in cases for arm in Arm for seed in range(1, seeds + 1)]
    with ProcessPoolExecutor(jobs) as pool:
        found = dict(zip(runs, pool.map(measured, runs), strict=True))
    heads = [f"{from_s:.0f}–{to_s:.0f} s" for from_s, to_s in WINDOWS[1:]]
    lines = [
        f"*Emulated*: {seeds} seeds, mean / p99 in ms, and the changed class's share of the calls. "
        "Seconds from the first restart; the new benchmark acts after 15. *Loop over alone*: "
        "ratio of the means, seeds in pairs, with a 95 % interval.",
        "",
        f"| what changes | arm | before | {' | '.join(heads)} | a router that begins after it |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        by_arm = {arm: [found[case, arm, seed] for seed in range(1, seeds + 1)] for arm in Arm}
        for arm, of in by_arm.items():
            cells = [_cell([item[place] for item in of]) for place in range(len(WINDOWS) + 1)]
            lines.append(f"| {case.about} | {arm} | {' | '.join(cells)} |")
        ratios = [
            ratio([run[n] for run in by_arm[Arm.LOOP]], [run[n] for run in by_arm[Arm.ALONE]])
            for n in range(len(WINDOWS) + 1)
        ]
        lines.append(f"| | loop over alone | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _cell(parts: Sequence[Part]) -> str:
    every = np.concatenate([part.latency_ms for part in parts])
    share = float(np.mean([part.share for part in parts]))
    return f"{every.mean():.0f} / {np.quantile(every, 0.99):.0f}, {share:.0%}"


def ratio(loop: Sequence[Part], alone: Sequence[Part]) -> str:
    """Of the means, paired by seed; the interval by the percentile bootstrap (Efron 1979)."""
    logs = np.log([a.mean_ms / b.mean_ms for a, b in zip(loop, alone, strict=True)])
    if not logs.any():
        return "the same"
    drawn = np.random.default_rng(1).choice(logs, (RESAMPLES, len(logs))).mean(axis=1)
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975)))
    return f"{np.exp(logs.mean()):.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Run, print, write where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.engine_change",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--case", type=int, choices=range(1, len(CASES) + 1), help="one alone")
    parser.add_argument("--write", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    cases = CASES if options.case is None else CASES[options.case - 1 : options.case]
    text = table(cases, options.seeds, options.jobs)
    print(text)
    if options.write is not None:
        write_between(options.write, "engine change", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
