"""What arrives: when, how large, from whom. Everything random comes from the ``Random`` given."""

import heapq
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from router.domain.request import Priority


class Arrival(Struct, frozen=True, gc=False):
    """One request. ``size`` is its work (mean 1), ``predicted`` what its sender could tell (0 =
    nothing).
    """

    at_s: float
    size: float
    predicted: float = 0.0
    priority: Priority = Priority.STANDARD
    tenant: int = 0
    deadline_ms: float = 0.0


class Phase(Struct, frozen=True):
    """For ``seconds`` (on average, if phases switch at random) arrivals come at ``rate_hz``."""

    seconds: float
    rate_hz: float


class Sizes(Struct, frozen=True):
    """How work is distributed: lognormal with mean 1 and this coefficient of variation.

    ``error`` is the standard deviation of the log of predicted over actual; None is size-blind.
    """

    cv: float = 1.0
    error: float | None = 0.5

    def draw(self, rng: Random) -> tuple[float, float]:
        """An actual size and what is predicted of it."""
        sigma2 = math.log1p(self.cv**2)
        size = math.exp(rng.gauss(-sigma2 / 2, math.sqrt(sigma2)))
        if self.error is None:
            return size, 0.0
        return size, size * math.exp(rng.gauss(0.0, self.error))


DEFAULT_SIZES = Sizes()


class Stream(Struct, frozen=True):
    """Requests of one tenant and priority: a cycle of phases.

    One phase is a Poisson stream. With ``random_phases`` each lasts an exponential time,
    which makes a Markov-modulated Poisson process; otherwise as long as it says.
    """

    phases: tuple[Phase, ...]
    sizes: Sizes = DEFAULT_SIZES
    random_phases: bool = False
    tenant: int = 0
    priority: Priority = Priority.STANDARD
    deadline_ms: float = 0.0

    def arrivals(self, rng: Random) -> Iterator[Arrival]:
        """Without end, in order."""
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
    """All streams together, in order; each has randomness of its own."""
    each = [stream.arrivals(Random(rng.getrandbits(64))) for stream in streams]
    return heapq.merge(*each, key=lambda arrival: arrival.at_s)


def recorded(path: Path) -> list[Arrival]:
    """Arrivals from a file: a JSON object a line, the fields of :class:`Arrival`, ``at_s`` rising.

    Raises ``ValueError`` naming the line that does not fit.
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
