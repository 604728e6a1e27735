"""Gives each request its id, on its answer, on the lines of the log, and on its span."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from marketplace.shared.observing.work import Work, working
from router.domain.tracing import span_ids, traceparent_of

HEADER = "X-Request-Id"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SERVER_FAULT = 500

log = logging.getLogger("marketplace.requests")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ObservedMiddleware:
    """A router's id of a request that it passes on is kept, a new request gets one.

    A path is logged as its pattern: what is filled in may be a secret, as of an invitation.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        begun_s = time.time()
        given = request.headers.get(HEADER, "")
        request_id = given if _UUID.fullmatch(given) else str(uuid.uuid4())
        traceparent, parent = traceparent_of(
            request.headers.get("traceparent", ""), request_id, settings.TRACE_SHARE
        )
        ids = span_ids(traceparent)
        with working(Work(request_id=request_id, trace_id=ids.trace_id if ids else "")):
            response = self.get_response(request)
            response.headers[HEADER] = request_id
            route = f"/{request.resolver_match.route}" if request.resolver_match else ""
            method, status = str(request.method), response.status_code
            ended_s = time.time()
            if settings.WAYPOST_LOG_REQUESTS:
                took_ms = (ended_s - begun_s) * 1e3
                log.info("%s %s %d in %.1f ms", method, route or "-", status, took_ms)
        if settings.TRACE_SHARE is not None:
            _send(traceparent, parent, begun_s, ended_s, method, route, status)
        return response


def _send(
    traceparent: str,
    parent: str,
    begun_s: float,
    ended_s: float,
    method: str,
    route: str,
    status: int,
) -> None:
    """By the conventions for HTTP servers."""
    # Whoever sends no traces need not load the SDK.
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    from marketplace.shared.observing.spans import span_send  # noqa: PLC0415

    span_send(
        f"{method} {route}".strip(),
        traceparent=traceparent,
        parent_span_id=parent,
        kind=SpanKind.SERVER,
        begun_s=begun_s,
        ended_s=ended_s,
        failed=status >= SERVER_FAULT,
        attributes={
            "http.request.method": method,
            "http.response.status_code": status,
            **({"http.route": route} if route else {}),
        },
    )
