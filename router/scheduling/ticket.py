"""A request's place in the queue."""

from collections.abc import Mapping
from math import inf

from msgspec import Struct

from router.domain.catalog import Policy
from router.domain.request import Priority, Sort

NO_TERMS: Mapping[str, float] = {}


class Used(Struct, frozen=True, gc=False):
    """What an answer took by the worker's own count. ``prompt_tokens`` include cached ones."""

    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int


class Ticket(Struct, frozen=True, gc=False):
    """What the scheduler needs to know about a request.

    ``candidates`` are the endpoint ids that it may go to, in the caller's order of preference.
    ``work`` is its predicted size (the mean per model is 1), predicted from ``features``
    (:mod:`router.scheduling.estimates.size`). ``prefix`` holds the hashes of its prompt's blocks
    (:mod:`router.scheduling.caches.affinity`), ``session`` the session that it is of, 0 for none.
    After ``expires_s`` waiting makes no sense, after
    ``deadline_s`` an answer makes none. Tenants share fairly. ``excluded`` are workers that already
    failed it.

    A generation has ``prompt_tokens`` (estimated from ``prompt_bytes``), expected
    ``answer_tokens``, at most ``answer_tokens_max`` (0 = no bound), and ``streams`` if its tokens
    are seen one by one (:mod:`router.scheduling.worker_models.engine`). By endpoint id,
    ``penalty_s`` is added to a candidate's score and ``cost_nano`` is what it would probably
    charge; both are 0 if absent. ``preferred_s`` is the longest that the answer should take: a
    wish, not a limit. One of a batch ``yields``: it leaves slots free for others
    (:mod:`router.scheduling.fleet.yielding`).
    """

    id: str
    candidates: tuple[str, ...]
    policy: Policy
    arrived_s: float
    expires_s: float
    work: float = 1.0
    features: tuple[float, ...] = ()
    prefix: tuple[int, ...] = ()
    session: int = 0
    prompt_bytes: int = 0
    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    answer_tokens_max: int = 0
    streams: bool = False
    priority: Priority = Priority.STANDARD
    yields: bool = False
    tenant: int = 0
    deadline_s: float = inf
    sort: Sort | None = None
    preferred_s: float = inf
    penalty_s: Mapping[str, float] = NO_TERMS
    cost_nano: Mapping[str, float] = NO_TERMS
    excluded: frozenset[str] = frozenset()

    @property
    def model(self) -> str:
        """The public name of the requested model."""
        return self.policy.model
