"""Sends finished work as OpenTelemetry spans over OTLP, with the SDK's batches and thread.

As at the router (``router/adapters/otlp.py``), spans are made when something has ended, and
endpoint, headers, batches and resource are the SDK's settings (``OTEL_*``).
"""

from collections.abc import Mapping
from functools import cache

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from router.domain.tracing import span_ids

SERVICE = "waypost-marketplace"
SCOPE = InstrumentationScope("waypost.marketplace")
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NANO_PER_S = 1_000_000_000


def span_send(
    name: str,
    *,
    traceparent: str,
    parent_span_id: str,
    kind: SpanKind,
    begun_s: float,
    ended_s: float,
    failed: bool,
    attributes: Mapping[str, str | int],
) -> None:
    """Send a span, unless its trace is not sampled.

    Its ids are those of ``traceparent``; ``parent_span_id`` is "" for the first of a trace. Times
    are Unix seconds.
    """
    ids = span_ids(traceparent)
    if ids is None or not ids.is_sampled:
        return
    trace_id, parent = int(ids.trace_id, 16), parent_span_id
    _processor().on_end(
        ReadableSpan(
            name,
            context=SpanContext(
                trace_id, int(ids.span_id, 16), is_remote=False, trace_flags=SAMPLED
            ),
            parent=SpanContext(trace_id, int(parent, 16), is_remote=True, trace_flags=SAMPLED)
            if parent
            else None,
            resource=_resource(),
            attributes=attributes,
            kind=kind,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=int(begun_s * NANO_PER_S),
            end_time=int(ended_s * NANO_PER_S),
            instrumentation_scope=SCOPE,
        )
    )


def spans_flush() -> None:
    """Send what is left. Blocks."""
    _processor().force_flush()


@cache
def _processor() -> BatchSpanProcessor:
    return BatchSpanProcessor(OTLPSpanExporter())


@cache
def _resource() -> Resource:
    return Resource.create({"service.name": SERVICE}).merge(Resource.create())
