"""A finished call as span attributes, by OpenTelemetry's conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (status: development). Attributes
that the conventions lack are named ``waypost.*``. None holds any of a prompt or an answer.
"""

from collections.abc import Mapping

from router.contracts.record import AttemptRecord, UsageRecord, hedge_ms
from router.domain.outcome import Outcome
from router.domain.protocols import KINDS
from router.domain.request import Kind

PROVIDER = "waypost"

Attributes = Mapping[str, str | int | float | bool | tuple[str, ...]]


def span_name(record: UsageRecord) -> str:
    """For example ``chat author/model``."""
    return f"{KINDS[Kind(record.kind)].operation} {record.model}"


def call_attributes(record: UsageRecord) -> Attributes:
    """Attributes of a call's span."""
    hedged_ms = hedge_ms(record.attempts, record.worker_id, record.queue_ms)
    attributes: dict[str, str | int | float | bool | tuple[str, ...]] = {
        "gen_ai.operation.name": KINDS[Kind(record.kind)].operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.streamed,
        "gen_ai.response.id": record.request_id,
        "gen_ai.usage.input_tokens": record.prompt_tokens + record.cached_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens + record.reasoning_tokens,
        "http.response.status_code": record.http_status,
        "waypost.router": record.router_id,
        "waypost.organisation": record.organisation_id,
        "waypost.outcome": record.outcome,
        "waypost.attempts": len(record.attempts),
        "waypost.charge_nano_usd": record.charge_nano,
        "waypost.queue_ms": record.queue_ms - hedged_ms,
        "waypost.hedge_ms": hedged_ms,
    }
    if record.cached_tokens:
        attributes["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
    if record.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = (record.finish_reason,)
    if record.streamed and record.ttft_ms:
        attributes["gen_ai.response.time_to_first_chunk"] = record.ttft_ms / 1e3
    if record.worker_id:
        attributes |= {"waypost.worker": record.worker_id, "waypost.pool": record.pool}
    if record.outcome != Outcome.COMPLETED:
        attributes["error.type"] = record.error or record.outcome
    return attributes


def attempt_attributes(attempt: AttemptRecord) -> Attributes:
    """Attributes of the span of one attempt at a worker."""
    attributes: dict[str, str | int | float | bool | tuple[str, ...]] = {
        "waypost.worker": attempt.worker_id,
        "waypost.pool": attempt.pool,
        "waypost.outcome": attempt.outcome,
    }
    if attempt.outcome != Outcome.COMPLETED:
        attributes["error.type"] = attempt.outcome
    return attributes
