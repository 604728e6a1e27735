"""How a call or an attempt can end. Low cardinality: also a metric label and a database value."""

from enum import StrEnum


class Outcome(StrEnum):
    """Each says who is billed (metering rules): only the first four may carry a charge."""

    COMPLETED = "completed"
    """Billed by usage."""
    CLIENT_GONE = "client_gone"
    """The client left: the worker was told, and what had been produced is billed."""
    TRUNCATED = "truncated"
    """The worker failed after the first byte: what was delivered is billed."""
    INTERRUPTED = "interrupted"
    """The router died while it streamed: what was delivered by the last checkpoint is billed."""
    REFUSED = "refused"
    """The worker found the request wrong (4xx): not billed, no other worker is tried."""
    REJECTED = "rejected"
    """Not answered (queue full, nothing eligible, its own deadline passed): not billed."""
    OUTRUN = "outrun"
    """Of an attempt only: it was late, a second one was sent beside it, and the other one won."""
    WORKER_FAILED = "worker_failed"
    """No worker answered before the first byte: not billed."""


BILLED = frozenset({Outcome.COMPLETED, Outcome.CLIENT_GONE, Outcome.TRUNCATED, Outcome.INTERRUPTED})
