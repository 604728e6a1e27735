"""Several of our routers in front of the same simulated engines. Each places its own calls."""

from collections.abc import Sequence
from random import Random

from router.contracts.word import SILENT, Word
from router.scheduling.fleet.slot_share import slot_shares
from router.simulator.engines import batching
from router.simulator.engines.scheduled import Part, Scheduled, heard, most_sequences
from router.simulator.engines.simulation import Call, EngineSimulation

BEAT_S = 1.0
"""The time between two words of a router, equal to the product's beat."""


ALONE = frozenset({Part.REPORTS})
"""Engines say nothing of others' requests, so that it is seen what routers tell each other."""


class Several:
    """Each call lands on a random router, whatever its session. The routers lease slots from each
    other. Unless ``silent``, they tell each other with every beat what they have on the engines.
    """

    def __init__(self, seed: int, routers: int = 2, *, silent: bool = False) -> None:
        self.routers = [
            Scheduled(seed=seed * 100 + number, lacks=ALONE) for number in range(routers)
        ]
        self._silent = silent
        self._random = Random(f"lands-{seed}")
        self._lands_on: dict[int, Scheduled] = {}
        self._words = [SILENT] * routers
        self._leases: list[dict[str, int]] = [{} for _ in range(routers)]

    def begin(self, simulation: EngineSimulation) -> None:
        """Publish the fleet. The routers beat in turn."""
        self._simulation = simulation
        self._slots = {
            engine.spec.name: most_sequences(engine.spec) for engine in simulation.engines
        }
        for number, router in enumerate(self.routers):
            router.begin(simulation)
            simulation.at(BEAT_S * number / len(self.routers), self._beat, number)

    def arrived(self, call: Call) -> None:
        """The call lands on a random router."""
        router = self._lands_on[call.number] = self._random.choice(self.routers)
        router.arrived(call)

    def stepped(
        self, engine: int, joined: Sequence[batching.Sequence], ended: Sequence[batching.Sequence]
    ) -> None:
        """Each router hears of its own answers."""
        heard(self._simulation, engine)
        if joined or ended:
            for router in self.routers:
                router.told(joined, ended)

    def failed(self, sequence: batching.Sequence) -> None:
        """Tell all routers; only the one that sent the attempt knows it."""
        for router in self.routers:
            router.failed(sequence)

    def left(self, call: Call) -> None:
        """The caller has left the router that it called."""
        self._lands_on[call.number].left(call)

    def _beat(self, number: int) -> None:
        simulation = self._simulation
        self._lease(number)
        if not self._silent:
            scheduler = self.routers[number].scheduler
            self._words[number] = scheduler.word(simulation.now_s)
            scheduler.others_said(self._others(number), simulation.now_s)
        simulation.at(simulation.now_s + BEAT_S, self._beat, number)

    def _others(self, number: int) -> list[Word]:
        return [word for other, word in enumerate(self._words) if other != number]

    def _lease(self, number: int) -> None:
        fleets = [router.scheduler.fleet for router in self.routers]
        for name, slots in self._slots.items():
            demands = {
                str(other): float(len(fleet.workers[name].inflight))
                for other, fleet in enumerate(fleets)
            }
            others = [held for other, held in enumerate(self._leases) if other != number]
            left = slots - sum(held.get(name, 0) for held in others)
            self._leases[number][name] = max(0, min(slot_shares(slots, demands)[str(number)], left))
        self.routers[number].lease(self._leases[number])
