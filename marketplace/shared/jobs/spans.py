"""A job that is over as a span: from when it was asked for to its end."""

import uuid

from django.conf import settings

from marketplace.shared.jobs.models import Job, JobState
from router.domain.tracing import traceparent_of


def job_span_send(job: Job) -> None:
    """Once, by the process whose end of it counted; nothing where no traces are sent."""
    if settings.TRACE_SHARE is None or job.ended_at is None:
        return
    # Whoever sends no traces need not load the SDK.
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    from marketplace.shared.observing.spans import span_send  # noqa: PLC0415

    began = job.started_at or job.ended_at
    span_send(
        job._meta.label_lower,
        traceparent=job.traceparent
        or traceparent_of("", str(uuid.uuid4()), settings.TRACE_SHARE)[0],
        parent_span_id="",
        kind=SpanKind.CONSUMER,
        begun_s=job.created_at.timestamp(),
        ended_s=job.ended_at.timestamp(),
        failed=job.state == JobState.FAILED,
        attributes={
            "waypost.job": f"{job._meta.label} {job.pk}",
            "waypost.job.state": job.state,
            "waypost.job.attempts": job.attempts,
            "waypost.job.waited_ms": round((began - job.created_at).total_seconds() * 1_000),
        },
    )
