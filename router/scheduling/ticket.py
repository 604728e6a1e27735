"""A request's place in the queue."""

from msgspec import Struct


class Ticket(Struct, frozen=True, gc=False):
    """What the scheduler needs to know about a request.

    ``candidates`` are endpoint ids it may go to, in the caller's order of preference. ``work`` is
    its predicted size, mean 1 per model. ``expires_s`` is when waiting stops making sense.
    ``excluded`` are workers that already failed it.
    """

    id: str
    candidates: tuple[str, ...]
    policy: str
    work: float
    arrived_s: float
    expires_s: float
    excluded: frozenset[str] = frozenset()
