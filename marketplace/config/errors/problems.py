"""Errors of the management API as problem details (RFC 9457)."""

import json
import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import exception_handler, set_rollback

from marketplace.config.errors.faults import fault
from marketplace.config.errors.refusals import PROBLEM_TYPE

log = logging.getLogger(__name__)


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """The problem document of an error; None for unexpected ones, which Django answers with 500."""
    if isinstance(error, DjangoValidationError):
        error = exceptions.ValidationError(as_serializer_error(error))
    response = exception_handler(error, context)
    if response is None:
        return _of_the_database(error, context["request"].path)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(response.status_code).phrase,
        "status": response.status_code,
        "instance": context["request"].path,
    }
    if isinstance(error, exceptions.ValidationError):
        problem["errors"] = list(_flatten(error.detail))
        problem["detail"] = "; ".join(entry["message"] for entry in problem["errors"])
    else:
        problem["detail"] = str(response.data.get("detail", "")) if response.data else ""
    problem |= getattr(error, "members", {})
    # WWW-Authenticate, Retry-After and Allow stay.
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-type"}
    return Response(problem, response.status_code, headers=headers, content_type=PROBLEM_TYPE)


def _of_the_database(error: Exception, path: str) -> Response | None:
    answer = fault(error, path)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    set_rollback()
    log.warning("%s: %s", path, error)
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    return Response(
        json.loads(answer.body), answer.status, headers=headers, content_type=PROBLEM_TYPE
    )


def _flatten(detail: Any, field: str = "") -> Any:
    """Flatten errors to ``{"field": "a.b", "message": …}``; ``field`` is "" for the whole body."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            whole = name in {"non_field_errors", NON_FIELD_ERRORS}
            yield from _flatten(inner, field if whole else f"{field}.{name}".strip("."))
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flatten(inner, field)
    else:
        yield {"field": field, "message": str(detail)}
