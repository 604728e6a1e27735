"""How a call or an attempt can end. Few values: they are metric labels and database values too."""

from enum import StrEnum


class Outcome(StrEnum):
    """Says who is billed (see the metering rules): only the first four may carry a charge."""

    COMPLETED = "completed"
    """Billed by usage."""
    CLIENT_GONE = "client_gone"
    """The client left and the worker was stopped: what it had produced is billed."""
    TRUNCATED = "truncated"
    """The worker failed after the first byte: what was delivered is billed."""
    INTERRUPTED = "interrupted"
    """The router died while streaming: what the last checkpoint says was delivered is billed."""
    REFUSED = "refused"
    """The worker found the request wrong (4xx): not billed, no other worker is tried."""
    REJECTED = "rejected"
    """Not answered (queue full, nothing eligible, the caller's deadline passed): not billed."""
    OUTRUN = "outrun"
    """Only of an attempt: it was late, a second one was sent, and the second one won."""
    WORKER_FAILED = "worker_failed"
    """No worker answered before the first byte: not billed."""


BILLED = frozenset({Outcome.COMPLETED, Outcome.CLIENT_GONE, Outcome.TRUNCATED, Outcome.INTERRUPTED})
