"""``python -m tests.bench.drift``: a fleet drifts away from its benchmarks; who notices, and when.

Under virtual time by default: the real scheduler over an emulated fleet whose fastest pool becomes
four times slower and whose middle pool becomes twice as fast. ``--live`` does the like over HTTP,
with real router and emulator processes, for about four minutes. ``--write FILE`` puts the tables
between the markers of a document, ``--chart FILE.svg`` draws the first form.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.drift import live
from tests.bench.drift.chart import chart
from tests.bench.drift.figures import Recovery, Samples, Window, recovery, windows
from tests.bench.drift.simulated import (
    AFTER_S,
    BEFORE_S,
    FOLD_S,
    LOAD,
    WARM_UP_S,
    Arm,
    Run,
    benchmarked_ms,
    restart,
    run,
    true_ms,
)

SLO_MS = 500.0
WIDTH_S = 5.0
LATER_S = 30.0, 60.0
STALE_AFTER_S = 20.0
"""Without an answer to the drift queues grow without bound: a few seconds of that say it all."""

PROFILE_MINUTES = 9
NAMES = {
    Arm.BENCHMARKS: "benchmarks alone",
    Arm.FROZEN: "frozen estimates",
    Arm.OURS: "ours",
    Arm.KNEW: "knew",
}


def main() -> int:
    """Run, print, write where asked; 1 when it did not recover within the minute."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drift", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--live", action="store_true", help="over HTTP instead, in real time")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals over HTTP")
    parser.add_argument("--write", type=Path, metavar="FILE.md")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    if options.live:
        text, passed = live.experiment(options.seed)
        part = "drift over HTTP"
    else:
        text, passed = _simulated(options)
        part = "drift simulated"
    print(text)
    if options.write is not None:
        write_between(options.write, part, text)
    return 0 if passed else 1


def write_between(path: Path, part: str, text: str) -> None:
    """Put the text between a document's markers. Raises ``ValueError`` where there are none."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    document = path.read_text()
    if begin not in document or end not in document:
        raise ValueError(f"{path} has no {begin} and {end}")
    head, _, rest = document.partition(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def _simulated(options: argparse.Namespace) -> tuple[str, bool]:
    runs: dict[Arm, list[Run]] = {}
    by_arm: dict[str, list[Window]] = {}
    for arm in (Arm.KNEW, Arm.OURS, Arm.FROZEN, Arm.BENCHMARKS):
        after_s = STALE_AFTER_S if arm is Arm.BENCHMARKS else AFTER_S
        seeds = range(1, options.seeds + 1)
        if arm is Arm.BENCHMARKS:
            seeds = seeds[:3]
        runs[arm] = [run(arm, seed, after_s=after_s) for seed in seeds]
        by_arm[NAMES[arm]] = _windows([run.samples for run in runs[arm]], after_s)
        print(f"{NAMES[arm]}: done", file=sys.stderr, flush=True)
    ours, frozen = (_recovery(runs[arm], runs[Arm.KNEW]) for arm in (Arm.OURS, Arm.FROZEN))
    long = run(Arm.OURS, 1, after_s=60.0 * PROFILE_MINUTES + 1)
    if options.chart is not None:
        chart(options.chart, by_arm, long.profiles_ms, true_ms())
    lines = [
        f"*Emulated*: {options.seeds} seeds, load {LOAD:g}, SLO {SLO_MS:g} ms, "
        f"{sum(len(run.samples.at_s) for run in runs[Arm.OURS]):,} calls an arm "
        f"(benchmarks alone: 3 seeds, {STALE_AFTER_S:g} s). Mean / p99 in ms, share within the "
        "SLO.",
        "",
        "| arm | before the drift | 0–5 s after | 5–20 s | 30–60 s | within 10 % of *knew* |",
        "|---|---|---|---|---|---|",
    ]
    said = {Arm.OURS: _said(ours), Arm.FROZEN: _said(frozen), Arm.KNEW: "–"}
    for arm, of in runs.items():
        cells = [
            _cell(of, from_s, to_s)
            for from_s, to_s in ((WARM_UP_S - BEFORE_S, 0), (0, 5), (5, 20), LATER_S)
        ]
        lines.append(f"| {NAMES[arm]} | {' | '.join(cells)} | {said.get(arm, 'never')} |")
    lines += ["", *_restarts(long, options.seeds)]
    return "\n".join(lines), ours.after_s is not None and ours.after_s <= 60


def _restarts(long: Run, seeds: int) -> list[str]:
    """What the folded profiles are for: a router that starts again."""
    lines = [
        "| a router that begins after the drift with | mean, first 5 s | p99, first 5 s |",
        "|---|---|---|",
    ]
    told = {"the benchmarks from before": benchmarked_ms()}
    for step in (2, 4, 8):
        minutes = step * FOLD_S / 60
        told[f"profiles folded for {minutes:g} min"] = {
            kind: history[step][1] for kind, history in long.profiles_ms.items()
        }
    told["the truth"] = true_ms()
    for name, priors_ms in told.items():
        of = [restart(seed, priors_ms) for seed in range(1, seeds + 1)]
        (one,) = windows(of, from_s=0, to_s=5, width_s=5, step_s=5, slo_ms=SLO_MS)
        lines.append(f"| {name} | {one.mean_ms:.0f} ms | {one.p99_ms:.0f} ms |")
    return lines


def _windows(samples: Sequence[Samples], after_s: float) -> list[Window]:
    return windows(
        samples,
        from_s=WARM_UP_S - BEFORE_S,
        to_s=after_s,
        width_s=WIDTH_S,
        step_s=1.0,
        slo_ms=SLO_MS,
    )


def _recovery(runs: Sequence[Run], knew: Sequence[Run]) -> Recovery:
    return recovery(
        [run.samples for run in runs],
        [item.samples for item in knew],
        to_s=AFTER_S,
        width_s=WIDTH_S,
    )


def _said(recovery: Recovery) -> str:
    if recovery.after_s is None:
        return "never"
    high = "never" if recovery.high_s is None else f"{recovery.high_s:.0f} s"
    return f"from the window that ends at {recovery.after_s:.0f} s (95 %: {high})"


def _cell(runs: Sequence[Run], from_s: float, to_s: float) -> str:
    samples = [run.samples for run in runs]
    last_s = max(float(sample.at_s.max()) for sample in samples)
    if last_s < to_s - 1:
        return "–"
    (one,) = windows(
        samples, from_s=from_s, to_s=to_s, width_s=to_s - from_s, step_s=1e9, slo_ms=SLO_MS
    )
    return f"{one.mean_ms:.0f} / {one.p99_ms:.0f}, {one.good:.2%}"


if __name__ == "__main__":
    sys.exit(main())
