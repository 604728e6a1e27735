"""Requests to the pages and jobs as spans, at a real collector."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from marketplace.config.middleware.observed import HEADER, ObservedMiddleware
from marketplace.predictions.models import Prediction
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.spans import job_span_send
from marketplace.shared.observing import spans
from marketplace.shared.observing.work import work_now
from tests.collector import Collected, collector

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REQUEST = "01939f8c-0000-7000-8000-00000000abcd"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Collected]:
    settings.TRACE_SHARE = 1.0
    with collector() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.url)
        spans._processor.cache_clear()
        yield kept
        spans._processor().shutdown()
        spans._processor.cache_clear()


def answered(**headers: str) -> HttpResponse:
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(" ".join(work_now().known.values()), status=503)

    request = RequestFactory().get("/anything", headers=headers)
    answer = ObservedMiddleware(view)(request)
    assert isinstance(answer, HttpResponse)
    return answer


def test_a_request_is_a_span_in_its_callers_trace(told: Collected) -> None:
    traceparent = f"00-{TRACE}-{PARENT}-01"
    answer = answered(**{HEADER: REQUEST, "traceparent": traceparent})
    assert answer.headers[HEADER] == REQUEST
    assert answer.text == f"{REQUEST} {TRACE}", "what its view logs has both"
    alone = answered(**{HEADER: "not an id"}).headers[HEADER]
    spans.spans_flush()
    mine, other = told.spans
    assert (mine.name, mine.trace_id.hex(), mine.parent_span_id.hex()) == ("GET", TRACE, PARENT)
    assert mine.span_id.hex() == REQUEST.replace("-", "")[-16:]
    assert mine.status.code == 2, "a server's fault is an error"
    assert other.trace_id.hex() == alone.replace("-", ""), "without a trace, that of its own id"


def test_nothing_is_sent_where_no_traces_are(told: Collected, settings: Any) -> None:
    settings.TRACE_SHARE = None
    answered()
    job_span_send(ended())
    spans.spans_flush()
    assert told.spans == []


def test_a_job_is_a_span_from_when_it_was_asked_for(told: Collected) -> None:
    job = ended()
    job_span_send(job)
    spans.spans_flush()
    (span,) = told.spans
    assert (span.name, span.trace_id.hex()) == ("predictions.prediction", job.uid.hex)
    assert job.traceparent == f"00-{job.uid.hex}-{span.span_id.hex()}-01", "its calls are below it"
    attributes = {one.key: one.value for one in span.attributes}
    assert attributes["waypost.job.waited_ms"].int_value == 2_000
    assert attributes["waypost.job.state"].string_value == "done"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 5_000_000_000


def ended() -> Prediction:
    return Prediction(
        pk=12,
        state=JobState.SUCCEEDED,
        created_at=NOON,
        started_at=NOON + timedelta(seconds=2),
        ended_at=NOON + timedelta(seconds=5),
    )


def test_a_request_is_logged_by_the_pattern_of_its_path(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WAYPOST_LOG_REQUESTS = True
    with caplog.at_level(logging.INFO, "marketplace.requests"):
        answered()
    (line,) = caplog.messages
    assert line.startswith("GET - 503 in "), "there is no such page"
    assert "anything" not in line
