"""The record of one finished call: what the journal keeps and ``billing_settle`` takes.

One record is one usage event. It carries the money (at most what was held), the measurements and
the decision, so that a bill, a chart and "why this route?" come from the same row.
"""

from typing import Any

import msgspec

RECORD_SCHEMA = 1


class AttemptRecord(msgspec.Struct, frozen=True, gc=False):
    """One try at one worker. ``outcome`` is a value of :class:`router.domain.outcome.Outcome`."""

    deployment_id: int
    worker_id: str
    pool: str
    outcome: str
    queue_ms: float
    upstream_ms: float


class CandidateRecord(msgspec.Struct, frozen=True, gc=False):
    """One endpoint that was considered. Times are the expectation at the moment of the decision.

    ``verdict`` says why it was chosen, lost or was filtered, as a low-cardinality word
    (``chosen``, ``tied``, ``slower``, ``busy``; ``unhealthy``, ``draining``, ``protocol``,
    ``not_wanted``, ``ignored``, ``too_dear``).
    """

    deployment_id: int
    worker_id: str
    pool: str
    verdict: str
    wait_ms: float
    service_ms: float
    score: float


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One usage event, settled at most once by its ``request_id`` (UUIDv7).

    ``charge_nano`` ≤ ``hold_nano``; a call that is not billed has ``charge_nano`` 0 and is still
    recorded. ``lease_id`` is "" where nothing was held. ``key_id`` is 0 for a browser session.
    ``traceparent`` is what the worker was told, ``parent_span_id`` the caller's span.
    """

    request_id: str
    router_id: str
    lease_id: str
    account_id: int
    organisation_id: int
    key_id: int
    model: str
    kind: str
    outcome: str
    http_status: int
    streamed: bool
    created_at_ms: int
    deployment_id: int = 0
    price_id: int = 0
    worker_id: str = ""
    pool: str = ""
    provider_account_id: int = 0
    hold_nano: int = 0
    charge_nano: int = 0
    commission_nano: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    rows: int = 0
    images: int = 0
    queue_ms: float = 0.0
    ttft_ms: float = 0.0
    upstream_ms: float = 0.0
    total_ms: float = 0.0
    finish_reason: str = ""
    user_id: int = 0
    traceparent: str = ""
    parent_span_id: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    candidates: tuple[CandidateRecord, ...] = ()
    schema: int = RECORD_SCHEMA


_decoder = msgspec.json.Decoder(UsageRecord)
_encoder = msgspec.json.Encoder()


def encode_record(record: UsageRecord) -> bytes:
    """The record as one line of JSON without a newline."""
    return _encoder.encode(record)


def decode_record(body: bytes | str) -> UsageRecord:
    """Parse a journalled record; raises ``ValueError`` when it is not one."""
    return _decoder.decode(body)


def record_as_builtins(record: UsageRecord) -> dict[str, Any]:
    """Plain dicts and lists, for callers that hand it on as JSON."""
    return msgspec.to_builtins(record)
