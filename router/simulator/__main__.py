"""``python -m router.simulator``: compare placement policies on a simulated fleet.

python -m router.simulator                               every policy on the study's fleet
python -m router.simulator failure --load 0.5            another scenario
python -m router.simulator study --load 0.3,0.5,0.7,0.85,0.95 --plot study.svg
python -m router.simulator study --arrivals day.jsonl    recorded arrivals, one JSON object a line
python -m router.simulator --engines e-sess75,e-mixed50 --seeds 2 --jobs 2    LLM engines and chat
python -m router.simulator --capacity 1000,100,10        workers, routers and regions
"""

import argparse
import sys
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path

import msgspec

from router.domain.catalog import Policy
from router.scheduling.policies import POLICIES
from router.simulator.engines.batching import StepForm
from router.simulator.engines.compare import (
    ENGINE_HEAD,
    PLACERS,
    Options,
    compare_engines,
    engine_line,
)
from router.simulator.engines.scenarios import engine_scenarios
from router.simulator.slots.capacity import CAPACITY_HEAD, capacity_line, carried, layouts
from router.simulator.slots.compare import REFERENCE, Figures, compare
from router.simulator.slots.plot import plot
from router.simulator.slots.scenarios import scenarios
from router.simulator.slots.simulation import MODEL, Answers
from router.simulator.workload import Sizes, recorded

HEAD = (
    f"{'policy':27s} {'mean':>8s} {'p50':>8s} {'p90':>8s} {'p99':>8s} {'good':>7s} "
    f"{'errors':>6s} {'hedges':>6s} {'usd/1000':>8s} {'us/req':>7s}"
)


def main() -> int:
    """Parse, run and print. Returns 2 for a bad argument."""
    arguments = _parser().parse_args()
    if arguments.engines:
        return _engines(arguments)
    if arguments.capacity:
        return _capacity(arguments)
    names = arguments.policies.split(",")
    try:
        loads = [float(load) for load in arguments.load.split(",")]
        arrivals = recorded(arguments.arrivals) if arguments.arrivals else None
        _check(arguments, names, loads)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    size_error = None if arguments.size_error < 0 else arguments.size_error
    by_load: dict[float, list[Figures]] = {}
    for load in loads:
        scenario = scenarios(load, Sizes(arguments.size_cv, size_error))[arguments.scenario]
        print(f"\n{scenario.name} at load {load:g}: {scenario.about}")
        print(f"{arguments.requests:,} requests, seed {arguments.seed}; ms; EMULATED hardware")
        print(HEAD, flush=True)
        policies = [None if name == REFERENCE else _policy(name, arguments) for name in names]
        begun = time.perf_counter()

        def show(figures: Figures) -> None:
            nonlocal begun
            ended = time.perf_counter()
            print(_line(figures, (ended - begun) / arguments.requests * 1e6), flush=True)
            begun = ended

        by_load[load] = compare(
            scenario,
            policies,
            arguments.requests,
            arguments.seed,
            recorded=arrivals,
            routers=arguments.routers,
            shared=arguments.shared,
            owner_dies_s=arguments.owner_dies,
            answers=Answers(arguments.answers) if arguments.answers else None,
            done=show,
        )
    if arguments.plot:
        try:
            plot(arguments.plot, f"{arguments.scenario}: emulated hardware", by_load)
        except ImportError:
            return _refuse("--plot needs matplotlib, which `make setup` installs")
        print(f"\nwrote {arguments.plot}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(by_load)))
    return 0


def _engines(arguments: argparse.Namespace) -> int:
    known = engine_scenarios()
    names = list(known) if arguments.engines == "all" else arguments.engines.split(",")
    placers = arguments.placers.split(",")
    for wanted, there in ((names, known), (placers, PLACERS)):
        for name in wanted:
            if name not in there:
                return _refuse(f"no {name!r}; there are {', '.join(there)}")
    options = Options(
        arguments.seeds, StepForm(arguments.form), arguments.load_factor, arguments.duration
    )
    for name, figures in compare_engines(names, placers, options, arguments.jobs):
        print(f"\n{name}: {known[name].about}; {options.seeds} seeds; ms; EMULATED hardware")
        print(ENGINE_HEAD)
        for row in figures:
            print(engine_line(row, figures[0].penalised_ms), flush=True)
    return 0


def _capacity(arguments: argparse.Namespace) -> int:
    try:
        workers, routers, regions = map(int, arguments.capacity.split(","))
        loads = [float(load) for load in arguments.load.split(",")]
    except ValueError:
        return _refuse("--capacity has workers, routers and regions, as in 1000,100,10")
    if regions < 1 or min(workers, routers) < regions:
        return _refuse("each region needs a worker and a router")
    print(f"{arguments.requests:,} requests, seed {arguments.seed}; EMULATED hardware")
    print(CAPACITY_HEAD, flush=True)
    for load in loads:
        for layout in layouts(workers, routers, regions):
            print(
                capacity_line(carried(layout, load, arguments.requests, arguments.seed)), flush=True
            )
    return 0


def _check(arguments: argparse.Namespace, names: Sequence[str], loads: Sequence[float]) -> None:
    """Raises ``ValueError`` that says what does not fit."""
    unknown = [name for name in names if name not in POLICIES and name != REFERENCE]
    if unknown:
        raise ValueError(f"no policy {unknown[0]!r}; there are {', '.join(POLICIES)}, {REFERENCE}")
    known = scenarios(loads[0])
    if arguments.scenario not in known:
        raise ValueError(f"no scenario {arguments.scenario!r}; there are {', '.join(known)}")
    if any(not 0 < load < 5 for load in loads) or arguments.requests < 100:
        raise ValueError("loads must lie between 0 and 5, and requests be at least 100")
    if arguments.routers < 1 or (arguments.owner_dies < inf and arguments.routers < 2):
        raise ValueError("there must be a router, and a second one if the first dies")


def _policy(name: str, arguments: argparse.Namespace) -> Policy:
    return Policy(
        1,
        1,
        MODEL,
        kind=name,
        wait_weight=arguments.wait_weight,
        hedge_share=arguments.hedge_share,
    )


def _line(figures: Figures, us_per_request: float) -> str:
    return (
        f"{figures.policy:27s} {figures.mean_ms:8.1f} {figures.p50_ms:8.1f} {figures.p90_ms:8.1f} "
        f"{figures.p99_ms:8.1f} {figures.good:7.2%} {figures.errors:6d} {figures.hedges:6d} "
        f"{figures.cost_usd_per_1000:8.4f} {us_per_request:7.1f}"
    )


def _refuse(message: str) -> int:
    print(f"simulator: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m router.simulator", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenario", nargs="?", default="study")
    parser.add_argument("--policies", default=",".join([REFERENCE, *POLICIES]))
    parser.add_argument("--load", default="0.7", help="shares of the fleet's capacity")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size-cv", type=float, default=1.0, help="spread of request sizes")
    parser.add_argument(
        "--size-error", type=float, default=0.5, help="log error of predictions; -1 = size-blind"
    )
    parser.add_argument("--wait-weight", type=float, default=5.0)
    parser.add_argument("--hedge-share", type=float, default=0.05)
    parser.add_argument("--routers", type=int, default=1, help="routers before the fleet")
    parser.add_argument(
        "--shared", action="store_true", help="each places over leased slots, without an owner"
    )
    parser.add_argument(
        "--owner-dies", type=float, default=inf, metavar="SECOND", help="kill the first router"
    )
    parser.add_argument(
        "--answers",
        choices=list(Answers),
        help="requests are generations, with tokens by their size or all as many",
    )
    parser.add_argument("--capacity", metavar="N,N,N", help="workers, routers, regions")
    parser.add_argument("--engines", metavar="NAMES", help="scenarios of LLM engines, or all")
    parser.add_argument("--placers", default="oracle,ours,least_outstanding,round_robin")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each engine scenario")
    parser.add_argument("--jobs", type=int, default=1, help="engine runs side by side")
    parser.add_argument("--form", choices=list(StepForm), default=StepForm.LINEAR.value)
    parser.add_argument("--load-factor", type=float, default=1.0, help="of engine scenarios")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds of an engine run")
    parser.add_argument("--arrivals", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--json", type=Path, metavar="FILE.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
