"""What a connection waits for, how long and how much it may take, and what is said beyond that."""

from enum import Enum

from router.domain.errors import BodyTooLarge, HeadersTooLarge, RequestTooSlow
from router.settings import Limits

LINGER_S = 2.0
"""How long a refused client may go on sending."""

FRAMING = 8
"""The most bytes on the wire per byte of a body: a chunk of one byte takes six."""


class Phase(Enum):
    """What a connection is waiting for, which decides its time bound."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CALL = "call"
    REFUSED = "refused"
    CLOSING = "closing"


IDLE, HEAD, BODY, CALL, REFUSED, CLOSING = Phase  # Reading an attribute of an enum takes 70 ns.


def bounds_s(limits: Limits) -> dict[Phase, float]:
    """How long each phase may last. A call has no bound here."""
    return {
        IDLE: limits.idle_timeout_s,
        HEAD: limits.header_timeout_s,
        BODY: limits.body_timeout_s,
        REFUSED: LINGER_S,
        CLOSING: limits.client_stall_s,  # The time to read the end of the answer.
    }


def wire_bytes_max(limits: Limits, body_bytes_max: int) -> int:
    """The most bytes that a request with such a body may take on the wire."""
    return limits.header_bytes_max + FRAMING * body_bytes_max


def too_large(bytes_max: int) -> BodyTooLarge:
    """Refuses a body."""
    return BodyTooLarge(f"the body is larger than {bytes_max} bytes")


def headers_too_large(limits: Limits) -> HeadersTooLarge:
    """Refuses a head."""
    return HeadersTooLarge(f"the headers are larger than {limits.header_bytes_max} bytes")


def too_slow(what: str, limit_s: float) -> RequestTooSlow:
    """Refuses a client that takes too long."""
    return RequestTooSlow(f"the {what} took longer than {limit_s:g} s to come")
