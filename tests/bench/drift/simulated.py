"""The drift under virtual time: the real scheduler, four ways of knowing how fast machines are."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import takewhile
from math import inf
from random import Random

import msgspec
import numpy as np
from msgspec import Struct

from marketplace.tuning.drift.detection import stepped
from router.domain.catalog import Policy
from router.scheduling.estimates.estimate import SMOOTHING, ServiceEstimate
from router.scheduling.fleet.worker import EndpointState
from router.simulator.slots.machine import Machine
from router.simulator.slots.scenarios import capacity_hz, fleet
from router.simulator.slots.simulation import MODEL, Setup, Simulation
from router.simulator.trouble import Event, Trouble
from router.simulator.workload import Arrival, Sizes, merged, poisson
from tests.bench.drift.figures import Samples

DRIFTS = {"A": 4.0, "C": 0.5}
"""By class, what its service time is multiplied by: the fastest pool of the study's fleet becomes
four times slower, a middle one twice as fast."""

LOAD = 0.7
BEFORE_S = 30.0
"""From the start to the drift: long enough for estimates and queues to settle."""

WARM_UP_S = 10.0
AFTER_S = 90.0
FOLD_S = 60.0
"""How often live telemetry is folded into the profiles: once a minute, as the loop's job does."""

FOLD_CALLS_MIN = 30
"""A profile stays as it is when its class had fewer calls since the last fold."""


class Arm(StrEnum):
    """Who knows what."""

    BENCHMARKS = "benchmarks"
    """Weights from the benchmarks, for good: weighted round robin over frozen estimates."""
    FROZEN = "frozen"
    """Late binding over the benchmarks' figures, which never learn."""
    OURS = "ours"
    """Late binding over live estimates, as it runs; profiles are folded beside it."""
    KNEW = "knew"
    """The same, with every true speed known at the moment of the drift."""


class Run(Struct, frozen=True):
    """One arm under one seed. ``profiles_ms`` maps a class to ``(seconds after the drift, ms)``."""

    samples: Samples
    profiles_ms: Mapping[str, Sequence[tuple[float, float]]]


class Frozen(ServiceEstimate):
    """An estimate that never changes."""

    __slots__ = ()

    def observe(self, service_s: float, work: float, smoothing: float = SMOOTHING) -> None:
        """Nothing is learned."""

    def at_least(self, seconds: float) -> None:
        """Nothing is learned."""


class Metered(ServiceEstimate):
    """An estimate that also adds up what calls took, as the records of calls do."""

    __slots__ = ("calls", "service_s", "work")

    def __init__(self, prior_s: float) -> None:
        super().__init__(prior_s)
        self.begin()

    def begin(self) -> None:
        """Add up from here."""
        self.calls, self.service_s, self.work = 0, 0.0, 0.0

    def observe(self, service_s: float, work: float, smoothing: float = SMOOTHING) -> None:
        """Learn as ever."""
        self.calls += 1
        self.service_s += service_s
        self.work += work
        super().observe(service_s, work, smoothing)


def machines(*, drifting: bool = True, at_s: float = BEFORE_S) -> tuple[Machine, ...]:
    """The study's fleet: all that is known of it are benchmarks within 10 %."""
    known = fleet()
    if not drifting:
        return known
    return tuple(
        msgspec.structs.replace(
            machine, events=(Event(Trouble.DRIFT, at_s, at_s, DRIFTS.get(machine.kind, 1.0)),)
        )
        for machine in known
    )


def run(
    arm: Arm,
    seed: int,
    *,
    load: float = LOAD,
    after_s: float = AFTER_S,
    fold_s: float = FOLD_S,
) -> Run:
    """One arm from ``WARM_UP_S`` to ``after_s`` past the drift. A seed is the arrivals."""
    made = machines()
    kind = "weighted" if arm is Arm.BENCHMARKS else "late_binding"
    simulation = Simulation(Setup(made, policy=Policy(1, 1, MODEL, kind=kind)), seed)
    states = {m.name: simulation.schedulers[0].fleet.endpoints[f"{m.kind}@{m.name}"] for m in made}
    if arm in (Arm.BENCHMARKS, Arm.FROZEN):
        for state in states.values():
            service = state.service
            service.estimate = Frozen(service.estimate.seconds)
            service.shared.estimate = Frozen(service.shared.estimate.seconds)
    ends_s = BEFORE_S + after_s
    profiles = _Profiles(made, states)
    if arm is Arm.KNEW:
        simulation.at(BEFORE_S, lambda _: _tell(made, states))
    if arm is Arm.OURS:
        for state in states.values():
            state.service.estimate = Metered(state.estimate.seconds)
        for at_s in np.arange(BEFORE_S + fold_s, ends_s, fold_s):
            simulation.at(float(at_s), lambda one, at_s=at_s: profiles.fold(one, float(at_s)))
    arrivals = _arrivals(made, load, seed, ends_s)
    results = simulation.run(arrivals, len(arrivals))
    counted = [result for result in results if result.at_s >= WARM_UP_S]
    return Run(
        Samples(
            np.array([result.at_s - BEFORE_S for result in counted]),
            np.array([inf if r.error else r.latency_s * 1e3 for r in counted]),
        ),
        profiles.history,
    )


class _Profiles:
    """Profiles by class, as the marketplace keeps them, and the snapshots made of them."""

    def __init__(self, made: Sequence[Machine], states: Mapping[str, EndpointState]) -> None:
        self._machines = made
        self._states = states
        self._now_ms = {kind: _mean(m.prior_ms for m in of) for kind, of in _by_kind(made).items()}
        self.history = {kind: [(0.0, ms)] for kind, ms in self._now_ms.items()}

    def fold(self, simulation: Simulation, at_s: float) -> None:
        """One step towards what the calls since the last one took, and a snapshot with it."""
        for kind, members in _by_kind(self._machines).items():
            meters = [self._states[member.name].estimate for member in members]
            known = [meter for meter in meters if isinstance(meter, Metered)]
            if sum(meter.calls for meter in known) >= FOLD_CALLS_MIN:
                took_s, work = (
                    sum(meter.service_s for meter in known),
                    sum(meter.work for meter in known),
                )
                self._now_ms[kind] = stepped(self._now_ms[kind], 1e3 * took_s / work)
            for meter in known:
                meter.begin()
            self.history[kind].append((at_s - BEFORE_S, self._now_ms[kind]))
        numbers = {kind: number for number, kind in enumerate(self._now_ms, 1)}
        simulation.publish(
            msgspec.structs.replace(machine, prior_ms=self._now_ms[machine.kind]).endpoint(
                numbers[machine.kind], MODEL
            )
            for machine in self._machines
        )


def restart(seed: int, priors_ms: Mapping[str, float], *, for_s: float = 5.0) -> Samples:
    """The first seconds of a router that starts over the drifted fleet, by initial knowledge."""
    made = tuple(
        msgspec.structs.replace(
            machine,
            service_ms=machine.service_ms * DRIFTS.get(machine.kind, 1.0),
            prior_ms=priors_ms[machine.kind],
        )
        for machine in machines(drifting=False)
    )
    simulation = Simulation(Setup(made), seed)
    arrivals = _arrivals(machines(drifting=False), LOAD, seed, for_s)
    results = simulation.run(arrivals, len(arrivals))
    return Samples(
        np.array([result.at_s for result in results]),
        np.array([result.latency_s * 1e3 for result in results]),
    )


def benchmarked_ms() -> dict[str, float]:
    """The benchmarks' figures by class, from before the drift."""
    kinds = _by_kind(machines(drifting=False))
    return {kind: _mean(item.prior_ms for item in of) for kind, of in kinds.items()}


def true_ms() -> dict[str, float]:
    """What each class takes after the drift."""
    return {
        machine.kind: machine.service_ms * DRIFTS.get(machine.kind, 1.0)
        for machine in machines(drifting=False)
    }


def _tell(made: Iterable[Machine], states: Mapping[str, EndpointState]) -> None:
    """Every estimate is what its machine takes from now on."""
    for row in made:
        true_s = row.service_ms / 1e3 * DRIFTS.get(row.kind, 1.0)
        service = states[row.name].service
        service.estimate = ServiceEstimate(true_s)
        service.shared.estimate = ServiceEstimate(true_s)
        service.worker.recheck_s = -inf


def _arrivals(made: Sequence[Machine], load: float, seed: int, ends_s: float) -> list[Arrival]:
    stream = poisson(load * capacity_hz(made), Sizes())
    every = merged((stream,), Random(f"drift-{seed}"))
    return list(takewhile(lambda arrival: arrival.at_s < ends_s, every))


def _by_kind(made: Iterable[Machine]) -> dict[str, list[Machine]]:
    kinds: dict[str, list[Machine]] = {}
    for row in made:
        kinds.setdefault(row.kind, []).append(row)
    return kinds


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)
