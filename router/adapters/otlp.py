"""Exports finished calls as OpenTelemetry spans over OTLP, with the SDK's batches and thread.

Spans are made from a call's record after it has ended, so nothing is kept while it runs.
"""

import secrets

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from router.contracts.genai import attempt_attributes, call_attributes, span_name
from router.contracts.record import AttemptRecord, UsageRecord
from router.domain.outcome import Outcome
from router.domain.tracing import span_ids
from router.ports.records import Recorder

SERVICE = "waypost-router"
SCOPE = InstrumentationScope("waypost.router")
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NANO_PER_MS = 1_000_000


class SpanRecorder:
    """A recorder that exports each record as spans and passes it on to another recorder.

    Endpoint, headers, batches and the resource are the SDK's settings (``OTEL_*``).
    """

    def __init__(self, recorder: Recorder) -> None:
        self.admit = recorder.admit
        self._recorder = recorder
        self._resource = Resource.create({"service.name": SERVICE}).merge(Resource.create())
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def append(self, record: UsageRecord) -> None:
        self._recorder.append(record)
        for span in spans_of(record, self._resource):
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what is left. Blocks."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def spans_of(record: UsageRecord, resource: Resource) -> list[ReadableSpan]:
    """The span of the call and one for each attempt; none if its trace is not sampled."""
    ids = span_ids(record.traceparent)
    if ids is None or not ids.is_sampled:
        return []
    trace_id = int(ids.trace_id, 16)
    context = _context(trace_id, int(ids.span_id, 16))
    parent = record.parent_span_id
    start = record.created_at_ms * NANO_PER_MS
    failed = record.outcome != Outcome.COMPLETED
    call = ReadableSpan(
        span_name(record),
        context=context,
        parent=_context(trace_id, int(parent, 16), is_remote=True) if parent else None,
        resource=resource,
        attributes=call_attributes(record),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=start,
        end_time=start + int(record.total_ms * NANO_PER_MS),
        instrumentation_scope=SCOPE,
    )
    return [call, *(_attempt(attempt, context, start, resource) for attempt in record.attempts)]


def _attempt(
    attempt: AttemptRecord, parent: SpanContext, start: int, resource: Resource
) -> ReadableSpan:
    begun = start + int(attempt.queue_ms * NANO_PER_MS)
    failed = attempt.outcome != Outcome.COMPLETED
    return ReadableSpan(
        f"attempt {attempt.pool}",
        context=_context(parent.trace_id, secrets.randbits(64) | 1),
        parent=parent,
        resource=resource,
        attributes=attempt_attributes(attempt),
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=begun,
        end_time=begun + int(attempt.upstream_ms * NANO_PER_MS),
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: int, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, SAMPLED)
