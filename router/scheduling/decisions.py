"""What the scheduler tells its caller to do, with reasons. The caller does it."""

from enum import StrEnum

from msgspec import Struct

from router.scheduling.fleet import Attempt
from router.scheduling.ticket import Ticket


class Considered(Struct, frozen=True, gc=False):
    """One endpoint as it looked when the decision was made. Seconds; the lowest score wins."""

    endpoint_id: str
    wait_s: float
    service_s: float
    score: float


class RejectReason(StrEnum):
    """Why a ticket was turned away."""

    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"
    NOTHING_ELIGIBLE = "nothing_eligible"
    DEADLINE = "deadline"
    """It would have been answered too late, so it was told at once."""


class Dispatch(Struct, frozen=True, gc=False):
    """Send the attempt's ticket to its endpoint now."""

    attempt: Attempt
    considered: tuple[Considered, ...]


class Hedge(Struct, frozen=True, gc=False):
    """Send the ticket of ``of``, which is late, to a second endpoint too."""

    attempt: Attempt
    of: Attempt


class Probe(Struct, frozen=True, gc=False):
    """Send a tiny request of your own to the attempt's endpoint."""

    attempt: Attempt


class Cancel(Struct, frozen=True, gc=False):
    """Stop this attempt at its worker: it lost its race. Its slot is free already."""

    attempt: Attempt


class Reject(Struct, frozen=True, gc=False):
    """Turn the ticket away. ``retry_after_s`` is when it would probably be served."""

    ticket: Ticket
    reason: RejectReason
    retry_after_s: float


class Eject(Struct, frozen=True, gc=False):
    """For the record: a worker gets nothing until ``until_s``, and then probes."""

    worker_id: str
    until_s: float


Decision = Dispatch | Hedge | Probe | Cancel | Reject | Eject
