"""The record of one finished call: what the journal keeps and ``billing_settle`` takes.

One record is one usage event. It carries the money (at most what was held), the measurements and
the decision, so that a bill, a chart and "why this route?" come from the same row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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


def hedge_ms(attempts: Iterable[AttemptRecord], worker_id: str, queue_ms: float) -> float:
    """How long another try had been running when the one at ``worker_id`` began.

    This part of ``queue_ms`` was spent waiting for an answer, not for a place.
    """
    longest_ms = 0.0
    for other in attempts:
        lasted_ms = queue_ms - other.queue_ms
        if other.worker_id != worker_id and 0.0 < lasted_ms < other.upstream_ms:
            longest_ms = max(longest_ms, lasted_ms)
    return longest_ms


class TermsRecord(msgspec.Struct, frozen=True, gc=False):
    """The parts of a generation's cost on an engine, rounded to a microsecond and a token.

    ``ahead_ms`` is until the engine has read the prompts before it, ``prefill_ms`` while it reads
    the uncached part of this prompt, ``decode_ms`` while it writes the answer. The three add up to
    the candidate's ``service_ms``. ``others_ms`` is how much longer all other calls on that engine
    take together because of this one. Tokens: of the whole prompt, of its part that is expected to
    be cached, and of the expected answer.
    """

    ahead_ms: float
    prefill_ms: float
    decode_ms: float
    others_ms: float
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int


class CandidateRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One endpoint that was considered. Times are as expected at the moment of the decision.

    ``verdict`` is a :class:`router.domain.verdict.Verdict`, perhaps of a newer router. ``terms``
    are set where a generation would have shared an engine. ``penalty_ms`` is what price, order and
    preferences add to the score.
    """

    deployment_id: int
    worker_id: str
    pool: str
    verdict: str
    wait_ms: float
    service_ms: float
    score: float
    terms: TermsRecord | None = None
    penalty_ms: float = 0.0


class Candidates:
    """The candidates of a call, made by ``listing`` when a journal or a person first reads them.

    Encode records with this module's functions: other encoders cannot list them.
    """

    __slots__ = ("_listed", "_listing")

    def __init__(self, listing: Callable[[], tuple[CandidateRecord, ...]] = tuple) -> None:
        self._listing = listing
        self._listed: tuple[CandidateRecord, ...] | None = None

    def listed(self) -> tuple[CandidateRecord, ...]:
        """All candidates."""
        if self._listed is None:
            self._listed = self._listing()
        return self._listed

    def __iter__(self) -> Iterator[CandidateRecord]:
        return iter(self.listed())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Candidates) and self.listed() == other.listed()

    __hash__ = None  # type: ignore[assignment]


NO_CANDIDATES = Candidates()


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One usage event, settled at most once by its ``request_id`` (UUIDv7).

    ``charge_nano`` ≤ ``hold_nano``; a call that is not billed has ``charge_nano`` 0 and is still
    recorded. ``lease_id`` is "" where nothing was held. ``key_id`` is 0 for a browser session.
    ``queue_ms`` is from arrival to the try that answered; :func:`hedge_ms` gives the part of it
    that another try took. ``traceparent`` is what the worker was told, ``parent_span_id`` the
    caller's span. ``asked`` is what the call named if that was no model, ``why`` how its model was
    chosen then. ``masked`` is what personal data was masked, like ``card=1, email=2``, without the
    values. ``guarded`` is what guardrails found, like ``input=passed, output=flagged:hate``.
    ``error`` is the code of the error that the call ended with, "" without one.
    ``app`` is the host of the application that made the call, as its caller says.
    ``priority`` is how urgent its caller said it is.
    ``policy_id`` is the policy version that placed the call. ``place`` (from 1) and
    ``eta_ms`` are what it could expect as it began to wait; both are 0 if it did not.
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
    price_class: str = "standard"
    priority: str = "standard"
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
    hardware_ms: int = 0
    place: int = 0
    eta_ms: float = 0.0
    queue_ms: float = 0.0
    ttft_ms: float = 0.0
    upstream_ms: float = 0.0
    total_ms: float = 0.0
    finish_reason: str = ""
    user_id: int = 0
    policy_id: int = 0
    traceparent: str = ""
    parent_span_id: str = ""
    app: str = ""
    app_title: str = ""
    asked: str = ""
    why: str = ""
    masked: str = ""
    guarded: str = ""
    error: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    candidates: Candidates = NO_CANDIDATES
    schema: int = RECORD_SCHEMA


def _listed(value: Any) -> Any:
    if isinstance(value, Candidates):
        return value.listed()
    raise NotImplementedError(f"a record does not hold {type(value)}")


def _candidates(type_: type, value: Any) -> Any:
    listed = msgspec.convert(value, tuple[CandidateRecord, ...])
    return Candidates(lambda: listed)


_decoder = msgspec.json.Decoder(UsageRecord, dec_hook=_candidates)
_encoder = msgspec.json.Encoder(enc_hook=_listed)


def encode_record(record: UsageRecord) -> bytes:
    """The record as one line of JSON without a newline."""
    return _encoder.encode(record)


def encode_records(records: Sequence[UsageRecord]) -> bytes:
    """Records as one JSON array."""
    return _encoder.encode(records)


def decode_record(body: bytes | str) -> UsageRecord:
    """Parse a journalled record; raises ``ValueError`` for anything else."""
    return _decoder.decode(body)
