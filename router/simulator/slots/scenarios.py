"""Fleets and workloads by name, and a formula to check them against theory."""

import math
from collections.abc import Sequence
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from router.domain.request import Priority
from router.simulator.slots.machine import Machine
from router.simulator.trouble import Event, Trouble
from router.simulator.workload import DEFAULT_SIZES, Phase, Sizes, Stream

STUDY_MS = ((40.0, 2), (60.0, 3), (120.0, 4), (400.0, 3))
"""Mean service and count of four classes of different hardware, from fast to slow."""


class Scenario(Struct, frozen=True):
    """A fleet, its arrivals, and the latency up to which an answer is good."""

    name: str
    about: str
    machines: tuple[Machine, ...]
    streams: tuple[Stream, ...]
    slo_ms: float = 500.0


def fleet(
    classes: Sequence[tuple[float, int]] = STUDY_MS,
    *,
    slots: int = 4,
    prior_error: float | None = 0.1,
    seed: int = 1,
) -> tuple[Machine, ...]:
    """Machines of some classes. Their benchmarked priors are off by up to ``prior_error``."""
    rng = Random(seed)
    machines: list[Machine] = []
    for number, (service_ms, count) in enumerate(classes):
        kind = chr(ord("A") + number)
        for place in range(count):
            prior = 0.0
            if prior_error is not None:
                prior = service_ms * rng.uniform(1 - prior_error, 1 + prior_error)
            # Slower hardware is cheaper: a slow request costs less.
            price_nano = round(4_000_000 / service_ms)
            machines.append(
                Machine(f"{kind}{place}", kind, service_ms, slots, prior, price_nano=price_nano)
            )
    return tuple(machines)


def capacity_hz(machines: Sequence[Machine]) -> float:
    """Mean requests a second with every slot busy."""
    return sum(machine.capacity_hz for machine in machines)


def troubled(machines: Sequence[Machine], name: str, *events: Event) -> tuple[Machine, ...]:
    """The same fleet with trouble on one machine."""
    return tuple(replace(m, events=events) if m.name == name else m for m in machines)


def scenarios(load: float, sizes: Sizes = DEFAULT_SIZES) -> dict[str, Scenario]:
    """Every scenario at ``load`` (a share of the whole fleet's capacity)."""
    unlike = fleet()
    cold = fleet(prior_error=None)
    rate = load * capacity_hz(unlike)
    steady = (Stream((Phase(math.inf, rate),), sizes),)
    quiet_and_busy = (Phase(7.0, 0.6 * rate), Phase(3.0, 1.9 * rate))
    tenants = tuple(
        Stream((Phase(math.inf, 0.5 * rate / 4),), sizes, tenant=number) for number in range(1, 5)
    )
    noisy = Stream((Phase(9.0, 0.1 * rate), Phase(3.0, 1.8 * rate)), sizes, tenant=9)
    by_priority = tuple(
        Stream((Phase(math.inf, share * rate),), sizes, priority=priority)
        for priority, share in zip(Priority, (0.4, 0.4, 0.2), strict=True)
    )
    made = (
        Scenario("study", "four classes of unlike hardware, Poisson arrivals", unlike, steady),
        Scenario("coldstart", "the same, with nothing known of any worker", cold, steady),
        Scenario(
            "straggler",
            "the fastest worker runs ten times slower from second 10 to 30",
            troubled(unlike, "A0", Event(Trouble.SLOW, 10, 30, 10.0)),
            steady,
        ),
        Scenario(
            "drift",
            "the fastest worker grows three times slower within a minute",
            troubled(unlike, "A0", Event(Trouble.DRIFT, 10, 70, 3.0)),
            steady,
        ),
        Scenario(
            "failure",
            "one worker crashes and one hangs from second 10 to 25",
            troubled(
                troubled(unlike, "A0", Event(Trouble.CRASH, 10, 25)),
                "B0",
                Event(Trouble.HANG, 10, 25),
            ),
            steady,
        ),
        Scenario(
            "burst",
            "seven quiet seconds, three far beyond the load, over and over",
            unlike,
            (Stream(quiet_and_busy, sizes),),
        ),
        Scenario(
            "mmpp",
            "the same bursts at random times",
            unlike,
            (Stream(quiet_and_busy, sizes, random_phases=True),),
        ),
        Scenario("tenants", "four steady tenants and one with bursts", unlike, (*tenants, noisy)),
        Scenario("priorities", "interactive, standard and batch requests", unlike, by_priority),
        Scenario(
            "batching",
            "two engines whose service slows as they batch",
            tuple(
                Machine(f"G{n}", "G", 50.0, 16, 50.0, ((4, 1.2), (8, 1.6), (16, 2.6)))
                for n in range(4)
            ),
            (Stream((Phase(math.inf, load * 4 * 16 / 0.13),), sizes),),
        ),
    )
    return {scenario.name: scenario for scenario in made}
