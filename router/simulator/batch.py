"""``python -m router.simulator.batch``: a batch on a fleet with a straggler, in virtual time.

A batch keeps half as many calls again at the router as the workers have slots, and sends another as
one ends. One of the workers is ten times slower than the others, and is told of as it is, as if it
were like them, or not at all. Exit status 1 when a batch takes over 1.15 times the ideal split.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from random import Random

from msgspec import Struct

from router.domain.catalog import Policy
from router.domain.request import Priority
from router.simulator.slots.machine import Machine
from router.simulator.slots.simulation import MODEL, Setup, Simulation
from router.simulator.workload import Arrival, Sizes

AHEAD = 1.5
RATIO_MAX = 1.15
"""Of the ideal split, with copies of what is late."""

COPIES = 0.05
"""The share of calls that may be copied, as a policy has it by default."""

SLOWER = 10
WORKERS, SLOTS, SERVICE_MS = 8, 4, 100.0
TOLD_MS: Mapping[str, float] = {
    "as it is": SLOWER * SERVICE_MS,
    "as the others": SERVICE_MS,
    "not at all": 0.0,
}
PIECES = Sizes(cv=0.1, error=None)
"""Calls of the same number of rows take nearly the same time."""


class BatchRun(Struct, frozen=True):
    """``ideal_s`` is the work over the speed of all workers, each busy to the end."""

    took_s: float
    ideal_s: float
    copies: int
    answered: int

    @property
    def ratio(self) -> float:
        """1 is the ideal."""
        return self.took_s / self.ideal_s


class _Batch(Simulation):
    """Sends what is left of a batch as its calls end."""

    def __init__(self, setup: Setup, seed: int, rest: Sequence[Arrival]) -> None:
        super().__init__(setup, seed)
        self._rest = list(reversed(rest))

    def ended(self) -> None:
        """Another one."""
        if self._rest:
            size = self._rest.pop().size
            self.arrive(Arrival(self.now_s, size, priority=Priority.BATCH))


def fleet(told_ms: float) -> tuple[Machine, ...]:
    """The last one is the straggler; its benchmark is said to be ``told_ms``, 0 for none."""
    like = [Machine(f"w{n}", "like", SERVICE_MS, SLOTS, SERVICE_MS) for n in range(WORKERS - 1)]
    return (*like, Machine("straggler", "slow", SLOWER * SERVICE_MS, SLOTS, told_ms))


def run_batch(machines: Sequence[Machine], pieces: int, seed: int, hedge_share: float) -> BatchRun:
    """One batch of so many calls, of which a share may be copied."""
    rng = Random(f"pieces-{seed}")
    drawn = [Arrival(0.0, PIECES.draw(rng)[0], priority=Priority.BATCH) for _ in range(pieces)]
    window = math.ceil(sum(machine.slots for machine in machines) * AHEAD) + 1
    policy = Policy(1, 1, MODEL, hedge_share=hedge_share)
    simulation = _Batch(Setup(tuple(machines), policy=policy), seed, drawn[window:])
    results = simulation.run(drawn[:window], window)
    return BatchRun(
        took_s=max(result.ended_s for result in results),
        ideal_s=sum(one.size for one in drawn) / sum(machine.capacity_hz for machine in machines),
        copies=simulation.hedges,
        answered=sum(not result.error for result in results),
    )


def main() -> int:
    """Print a table; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m router.simulator.batch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pieces", type=int, default=400, help="calls of the batch")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each")
    options = parser.parse_args()
    lines = [
        "| the straggler is told of | copies | of the ideal split | without copies |",
        "|---|---|---|---|",
    ]
    worst = 0.0
    for name, told_ms in TOLD_MS.items():
        with_copies, without = (
            [
                run_batch(fleet(told_ms), options.pieces, seed, share)
                for seed in range(options.seeds)
            ]
            for share in (COPIES, 0.0)
        )
        slowest = max(run.ratio for run in with_copies)
        copies = max(run.copies for run in with_copies)
        lines.append(
            f"| {name} | {copies} | {slowest:.2f} | {max(run.ratio for run in without):.2f} |"
        )
        worst = max(worst, slowest)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if worst <= RATIO_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
