"""Multi-turn chat as numbers: when sessions begin, the lengths of their turns, what they share.

There is no text. A session's conversation only grows, so each of its segments is named by the
session and the segment's place, and a shared system prompt by its number. Equal names mean equal
beginnings, in the engines' caches and in the router's prefix blocks.
"""

import math
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from router.domain.request import BYTES_PER_TOKEN
from router.scheduling.caches.affinity import BLOCK_BYTES
from router.simulator.engines.kv_cache import BLOCK_TOKENS, Chain

TURN_TOKENS = 6
SYSTEM_TOKENS = 3
"""Tokens that a chat template puts around a turn, and around a system prompt."""

TURN_BYTES = 56
SYSTEM_BYTES = 27
OPEN_BYTES = 18
"""Extra bytes of JSON, beyond the template: for a turn and its answer, for a system prompt, and for
the turn that has no answer yet.
"""

NAMES = 1 << 16
"""Names for one conversation: at most as many blocks, and half as many turns."""


class Lengths(Struct, frozen=True):
    """Lognormal lengths, cut off at both ends."""

    median: float
    sigma: float
    low: float
    high: float

    def draw(self, rng: Random) -> float:
        """Draw one length."""
        value = self.median * math.exp(self.sigma * rng.gauss(0.0, 1.0))
        return min(max(value, self.low), self.high)


class Systems(Struct, frozen=True):
    """Shared system prompts: ``count`` of about ``tokens``, popular by Zipf's law."""

    count: int
    tokens: float
    zipf: float = 1.0


class Load(Struct, frozen=True):
    """Sessions of ``turns`` (least, most), arriving so that ``rate_hz`` turns a second begin.

    Lengths are in tokens, those of answers in answer events. Turns after the first have ``later``
    prompts, and a share ``long_share`` of all turns have ``long`` ones. ``life_s`` is the mean
    duration of a turn besides thinking; it decides how many sessions run at the start. ``tenants``
    are the tenants' shares of the sessions. ``only`` leaves out all tenants but one, to show what
    the others do to it.
    """

    rate_hz: float
    first: Lengths
    answer: Lengths
    turns: tuple[int, int] = (1, 1)
    later: Lengths | None = None
    long: Lengths | None = None
    long_share: float = 0.0
    systems: Systems | None = None
    think_s: float = 0.0
    life_s: float = 1.0
    answer_max: int = 64
    tenants: tuple[float, ...] = (1.0,)
    only: int | None = None


class Turn(Struct, frozen=True, gc=False):
    """The whole prompt with everything before it, and what its answer will be.

    ``prompt_bytes`` is what the router sees of the prompt.
    """

    chain: Chain
    prompt_tokens: int
    prompt_bytes: int
    answer_events: int
    answer_name: int
    think_s: float
    is_long: bool = False


class Session(Struct, frozen=True):
    """A session that begins at ``at_s`` with turn ``first``; earlier turns were before the run.

    ``prefix`` holds the router's blocks of the whole conversation.
    """

    id: int
    at_s: float
    first: int
    turns: tuple[Turn, ...]
    prefix: tuple[int, ...]
    tenant: int = 0


class _Shape(Struct, frozen=True):
    """One turn without what comes before it."""

    tokens: int
    events: int
    think_s: float
    is_long: bool


def plan(load: Load, duration_s: float, event_tokens: int, seed: int) -> list[Session]:
    """Every session that begins within ``duration_s``, and those running at 0."""
    rng = Random(f"sessions-{seed}")
    systems = [0]
    weights = [1.0]
    if load.systems is not None:
        of = load.systems
        systems = [int(of.tokens * rng.uniform(0.7, 1.3)) + SYSTEM_TOKENS for _ in range(of.count)]
        weights = [1 / (place + 1) ** of.zipf for place in range(of.count)]
    least, most = load.turns
    starts: list[tuple[float, bool]] = []
    mean = (least + most) / 2
    at_s = rng.expovariate(load.rate_hz / mean)
    while at_s < duration_s:
        starts.append((at_s, False))
        at_s += rng.expovariate(load.rate_hz / mean)
    if most > 1:
        turn_s = load.think_s + load.life_s
        open_ = int(load.rate_hz * turn_s * (least + most - 2) / 2 / mean + 0.5)
        starts += [(rng.uniform(0.0, turn_s), True) for _ in range(open_)]
    sessions: list[Session] = []
    for at_s, under_way in starts:
        count, first = rng.randint(least, most), 0
        if under_way:  # A long session is more likely to be running, at any of its turns.
            count = max(rng.randint(max(least, 2), most), rng.randint(max(least, 2), most))
            first = rng.randint(1, count - 1)
        shapes = [_shape(load, place, rng) for place in range(count)]
        (system,) = rng.choices(range(len(systems)), weights)
        sessions.append(
            session(len(sessions), at_s, first, shapes, system, systems[system], event_tokens)
        )
    return _shared(load, sessions, Random(f"tenants-{seed}"))


def _shared(load: Load, sessions: list[Session], rng: Random) -> list[Session]:
    """Draw the tenants separately, so that the sessions are the same for any tenants."""
    owners = rng.choices(range(len(load.tenants)), load.tenants, k=len(sessions))
    owned = zip(sessions, owners, strict=True)
    return [
        replace(session_, tenant=owner) for session_, owner in owned if load.only in {None, owner}
    ]


def _shape(load: Load, place: int, rng: Random) -> _Shape:
    events = int(load.answer.draw(rng))
    lengths = load.later if place and load.later is not None else load.first
    is_long = load.long is not None and rng.random() < load.long_share
    if is_long and load.long is not None:
        lengths = load.long
    tokens = int(lengths.draw(rng)) + TURN_TOKENS
    think_s = rng.expovariate(1 / load.think_s) if load.think_s else 0.0
    return _Shape(tokens, events, think_s, is_long)


def session(
    id_: int,
    at_s: float,
    first: int,
    shapes: list[_Shape],
    system: int,
    system_tokens: int,
    event_tokens: int,
) -> Session:
    """Turns one after the other, behind a system prompt of ``system_tokens``."""
    turns: list[Turn] = []
    chain: list[tuple[int, int]] = []

    def add(name: int, tokens: int) -> None:
        end = tokens // BLOCK_TOKENS
        if end > (chain[-1][1] if chain else 0):
            chain.append((name, end))

    known, name = system_tokens, id_ * NAMES
    add(-1 - system, known)
    wire = SYSTEM_BYTES if system_tokens else 0
    shared = (known * BYTES_PER_TOKEN + wire) // BLOCK_BYTES
    size = 0
    for shape in shapes:
        known += shape.tokens
        add(name, known)
        size = known * BYTES_PER_TOKEN + wire + OPEN_BYTES
        turns.append(
            Turn(
                tuple(chain),
                known,
                size,
                shape.events,
                name + 1,
                shape.think_s,
                shape.is_long,
            )
        )
        wire += TURN_BYTES
        known += shape.events * event_tokens
        add(name + 1, known)
        name += 2
    theirs, own = (-1 - system) * NAMES, id_ * NAMES
    prefix = (*range(theirs, theirs + shared), *range(own + shared, own + size // BLOCK_BYTES))
    return Session(id_, at_s, first, tuple(turns), prefix)


def alone(
    id_: int,
    at_s: float,
    prompt_tokens: int,
    answer_events: int,
    *,
    shared: int,
    shared_tokens: int,
    tenant: int = 0,
) -> Session:
    """A single turn. Turns with the same ``shared`` number share their first ``shared_tokens``."""
    theirs, own = -1 - shared, id_ * NAMES
    chain = [(theirs, end)] if (end := shared_tokens // BLOCK_TOKENS) else []
    if prompt_tokens // BLOCK_TOKENS > end:
        chain.append((own, prompt_tokens // BLOCK_TOKENS))
    size = prompt_tokens * BYTES_PER_TOKEN
    common = shared_tokens * BYTES_PER_TOKEN // BLOCK_BYTES
    prefix = (
        *range(theirs * NAMES, theirs * NAMES + common),
        *range(own + common, own + size // BLOCK_BYTES),
    )
    turn = Turn(tuple(chain), prompt_tokens, size, answer_events, own + 1, 0.0)
    return Session(id_, at_s, 0, (turn,), prefix, tenant)
