"""Arrivals: when, how large, from which tenant. All randomness comes from the given ``Random``."""

import heapq
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from router.domain.request import Priority


class Arrival(Struct, frozen=True, gc=False):
    """One request. ``size`` is its work (mean 1). ``predicted`` is what its sender can tell of it
    (0 = nothing).
    """

    at_s: float
    size: float
    predicted: float = 0.0
    priority: Priority = Priority.STANDARD
    tenant: int = 0
    deadline_ms: float = 0.0


class Phase(Struct, frozen=True):
    """Arrivals at ``rate_hz`` for ``seconds`` (on average, if phases switch at random)."""

    seconds: float
    rate_hz: float


class Sizes(Struct, frozen=True):
    """The distribution of work: lognormal with mean 1 and this coefficient of variation.

    ``error`` is the standard deviation of the log of predicted over actual; None predicts nothing.
    """

    cv: float = 1.0
    error: float | None = 0.5

    def draw(self, rng: Random) -> tuple[float, float]:
        """Draw an actual size and its prediction."""
        sigma2 = math.log1p(self.cv**2)
        size = math.exp(rng.gauss(-sigma2 / 2, math.sqrt(sigma2)))
        if self.error is None:
            return size, 0.0
        return size, size * math.exp(rng.gauss(0.0, self.error))


DEFAULT_SIZES = Sizes()


class Stream(Struct, frozen=True):
    """Requests of one tenant and priority, in a cycle of phases.

    A single phase is a Poisson stream. With ``random_phases`` each phase lasts an exponential time,
    which makes a Markov-modulated Poisson process; otherwise it lasts as long as it says.
    """

    phases: tuple[Phase, ...]
    sizes: Sizes = DEFAULT_SIZES
    random_phases: bool = False
    tenant: int = 0
    priority: Priority = Priority.STANDARD
    deadline_ms: float = 0.0

    def arrivals(self, rng: Random) -> Iterator[Arrival]:
        """An endless stream, in order."""
        ends_s = 0.0
        while True:
            for phase in self.phases:
                begins_s = ends_s
                length_s = (
                    rng.expovariate(1) * phase.seconds if self.random_phases else phase.seconds
                )
                ends_s = begins_s + length_s
                if phase.rate_hz <= 0:
                    continue
                at_s = begins_s + rng.expovariate(phase.rate_hz)
                while at_s < ends_s:
                    size, predicted = self.sizes.draw(rng)
                    yield Arrival(
                        at_s, size, predicted, self.priority, self.tenant, self.deadline_ms
                    )
                    at_s += rng.expovariate(phase.rate_hz)


def poisson(rate_hz: float, sizes: Sizes = DEFAULT_SIZES) -> Stream:
    """A steady stream."""
    return Stream((Phase(math.inf, rate_hz),), sizes)


def merged(streams: Sequence[Stream], rng: Random) -> Iterator[Arrival]:
    """All streams together, in order. Each has its own randomness."""
    each = [stream.arrivals(Random(rng.getrandbits(64))) for stream in streams]
    return heapq.merge(*each, key=lambda arrival: arrival.at_s)


def recorded(path: Path) -> list[Arrival]:
    """Arrivals from a file: one JSON object per line with the fields of :class:`Arrival`.

    ``at_s`` rises. Raises ``ValueError`` that names the line at fault.
    """
    decode = msgspec.json.Decoder(Arrival).decode
    arrivals: list[Arrival] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                arrival = decode(line)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
            if arrival.size <= 0 or arrival.predicted < 0:
                raise ValueError(f"{path}:{number}: size must be positive, predicted not negative")
            if arrivals and arrival.at_s < arrivals[-1].at_s:
                raise ValueError(f"{path}:{number}: at_s goes back from {arrivals[-1].at_s}")
            arrivals.append(arrival)
    if not arrivals:
        raise ValueError(f"{path} holds no arrivals")
    return arrivals
