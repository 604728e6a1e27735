"""``python -m tests.judge``: compare gateways on emulated workers (``make judge``).

Each target gets a fresh fleet, a fresh gateway and the same seeded work. Gateways run on the first
core, fleets and load on the second, several targets at a time where that does not disturb. Peers
are installed from PyPI into ``--tools``; nginx and haproxy are used where the machine has them.
Latency counts from when a call was due. ``--write FILE`` measures what the tables of a document ask
for and fills them. Exit status 1 when a target failed or a run is not to be trusted.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.judge.figures.results import Result
from tests.judge.figures.table import fill, scenario_table, trusted, wanted
from tests.judge.gateways.peers import DIRECT, ORACLE, ROOT, TARGETS, CannotInstall, install
from tests.judge.lanes import Bench, measure
from tests.judge.scenarios import SCENARIOS, Scenario

TOOLS = ROOT / ".tools" / "judge"
USUAL = f"{ORACLE},{DIRECT},ours,nginx-lc,haproxy-lc,sglang-cache,vllm-p2c,smg-cache,smg-least"
Thing = TypeVar("Thing")
_read = msgspec.json.Decoder(list[Result]).decode


def main() -> int:
    """Run, print, store and write the results."""
    options = _options()
    results = [item for path in options.read for item in _read(path.read_bytes())]
    document = options.write.read_text() if options.write else ""
    try:
        names = options.scenario or ([] if options.read else wanted(document))
        scenarios = _known("scenario", names, SCENARIOS)
        targets = list(_known("target", options.targets, {name: name for name in TARGETS}))
        if scenarios:
            results += _measured(scenarios, _installed(targets, options.tools), options)
        elif not results:
            raise ValueError("nothing to run: name a --scenario, or a document to --write")
    except ValueError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    for name in dict.fromkeys(result.scenario for result in results):
        print(f"\n{scenario_table([result for result in results if result.scenario == name])}")
    if options.write:
        text, left = fill(document, _in_asked_order(results, targets))
        options.write.write_text(text)
        for line in left:
            print(f"{options.write}: {line}", file=sys.stderr)
    return 0 if all(trusted(result) and not result.failed for result in results) else 1


def _known(what: str, names: Sequence[str], known: Mapping[str, Thing]) -> list[Thing]:
    """The entries with these names. Raises ``ValueError`` for an unknown name."""
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _measured(
    scenarios: Sequence[Scenario], targets: Sequence[str], options: argparse.Namespace
) -> list[Result]:
    """Each scenario with each seed; stores results as they come. Raises ``ValueError``."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not targets:
        raise ValueError("a target and two cores are needed, one for gateways, one for the rest")
    bench = Bench((cores[0], cores[1]), options.tools, options.seconds, options.lanes)
    kept = options.json or bench.tools / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for seed in options.seeds:
        for scenario in scenarios:
            results += asyncio.run(measure(scenario, targets, seed, bench))
            kept.write_bytes(msgspec.json.encode(results))
            print(f"{time.strftime('%T')} {scenario.name}, seed {seed}: measured", flush=True)
    print(f"raw results: {kept}")
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.judge", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--scenario", type=_names, default=[], help=", ".join(SCENARIOS))
    parser.add_argument("--targets", type=_names, default=_names(USUAL), help=", ".join(TARGETS))
    parser.add_argument("--seeds", type=_seeds, default=[1], help="1,2,3: repetitions")
    parser.add_argument("--seconds", type=float, help="a shorter load, to try something")
    parser.add_argument("--lanes", type=int, help="targets at a time, instead of the scenario's")
    parser.add_argument("--tools", type=Path, default=TOOLS, help="scratch folder of the peers")
    parser.add_argument("--json", type=Path, help="where raw results go, instead of there")
    parser.add_argument("--read", type=Path, nargs="*", default=[], help="earlier raw results")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a document with tables")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in _names(text)]


def _installed(targets: Sequence[str], tools: Path) -> list[str]:
    """The targets that this machine can run."""
    able: list[str] = []
    for name in targets:
        try:
            if name not in {ORACLE, DIRECT}:
                install(name, tools)
        except CannotInstall as why:
            print(f"judge: {why}", file=sys.stderr)
        else:
            able.append(name)
    return able


def _in_asked_order(results: Sequence[Result], targets: Sequence[str]) -> list[Result]:
    order = {name: at for at, name in enumerate(targets)}
    return sorted(results, key=lambda one: order.get(one.target, len(order)))


if __name__ == "__main__":
    sys.exit(main())
