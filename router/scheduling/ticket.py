"""A request's place in the queue."""

from collections.abc import Mapping
from math import inf

from msgspec import Struct

from router.domain.catalog import Policy
from router.domain.request import Priority, Sort

NO_TERMS: Mapping[str, float] = {}


class Used(Struct, frozen=True, gc=False):
    """What an answer took by the worker's own count. ``cached_tokens`` are part of the prompt's."""

    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int


class Ticket(Struct, frozen=True, gc=False):
    """What the scheduler needs to know about a request.

    ``candidates`` are endpoint ids that it may go to, in the caller's order of preference.
    ``work`` is its predicted size, mean 1 per model; ``features`` are what that was predicted from
    (:mod:`router.scheduling.size`) and ``prefix`` the hashes of its prompt's blocks
    (:mod:`router.scheduling.affinity`). ``expires_s`` is when waiting stops making sense and
    ``deadline_s`` when an answer does. ``tenant`` is who shares fairly, ``excluded`` the workers
    that already failed it. A generation has ``prompt_tokens`` (estimated from ``prompt_bytes``),
    ``answer_tokens`` that it is expected to take, ``answer_tokens_max`` that it may take (0 = no
    bound), and ``streams`` when its tokens are seen one by one (:mod:`router.scheduling.engine`).
    ``penalty_s`` and ``cost_nano`` are, by endpoint id, what a candidate is set back by and what it
    would probably charge; an absent endpoint has none. ``preferred_s`` is how long the answer
    should take at most: a wish, not a limit.
    """

    id: str
    candidates: tuple[str, ...]
    policy: Policy
    arrived_s: float
    expires_s: float
    work: float = 1.0
    features: tuple[float, ...] = ()
    prefix: tuple[int, ...] = ()
    prompt_bytes: int = 0
    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    answer_tokens_max: int = 0
    streams: bool = False
    priority: Priority = Priority.STANDARD
    tenant: int = 0
    deadline_s: float = inf
    sort: Sort | None = None
    preferred_s: float = inf
    penalty_s: Mapping[str, float] = NO_TERMS
    cost_nano: Mapping[str, float] = NO_TERMS
    excluded: frozenset[str] = frozenset()

    @property
    def model(self) -> str:
        """The public name of the model that is asked for."""
        return self.policy.model
