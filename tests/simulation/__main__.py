"""``python -m tests.simulation``: many histories of the money, each from its seed.

A seed that fails is printed with what broke; ``--seed N`` plays that one again.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.simulation.money import simulate
from tests.simulation.world import Broken

SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one history; ``broken`` says what did not hold."""

    seed: int
    calls: int = 0
    refused: int = 0
    kills: int = 0
    power_losses: int = 0
    outages: int = 0
    broken: str = ""


def play(seed: int) -> Outcome:
    """One history."""
    logging.disable(logging.CRITICAL)  # Outages are what it is about.
    try:
        world = simulate(seed)
    except Broken as broken:
        return Outcome(seed, broken=str(broken))
    faults = world.faults
    return Outcome(
        seed,
        len(world.truths),
        world.refused,
        faults["kill"] + faults["power"],
        faults["power"],
        faults["outage"],
    )


def main() -> int:
    """0 when everything held in every history."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one history only")
    options = parser.parse_args()
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    else:
        seeds = range(options.first, options.first + options.seeds)
    began_s = time.monotonic()
    outcomes = list(_with_progress(seeds))
    broken = [outcome for outcome in outcomes if outcome.broken]
    for outcome in broken[:SHOWN_MAX]:
        print(f"{outcome.broken}\n  again: python -m tests.simulation --seed {outcome.seed}")
    print(
        f"{len(outcomes):,} histories in {time.monotonic() - began_s:,.0f} s: "
        f"{sum(o.calls for o in outcomes):,} calls, {sum(o.refused for o in outcomes):,} refused "
        f"for lack of credit, {sum(o.kills for o in outcomes):,} routers killed "
        f"({sum(o.power_losses for o in outcomes):,} by a power loss), "
        f"{sum(o.outages for o in outcomes):,} faults of the ledger. "
        + (f"{len(broken):,} broke a promise." if broken else "Everything held.")
    )
    return 1 if broken else 0


def _with_progress(seeds: range) -> Iterator[Outcome]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, outcome in enumerate(pool.map(play, seeds, chunksize=10), start=1):
            if sys.stderr.isatty() and done % 50 == 0:
                print(f"\r{done:,} of {len(seeds):,}", end="", file=sys.stderr, flush=True)
            yield outcome
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
