"""Errors of ``/v1/`` in OpenAI's shape, as the router has them."""

import json
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import as_serializer_error
from rest_framework.views import exception_handler

from router.contracts.openai_error import openai_error

CODES = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.FORBIDDEN: "not_allowed",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
}
"""The ``code`` of an error that says none itself, by its status; others are ``invalid_request``."""

INVALID = (exceptions.ValidationError, exceptions.ParseError)
"""Django REST framework answers these with 400, the router with 422."""


class JobError(exceptions.APIException):
    """An error with a ``code`` of its own and, where one field is at fault, its name."""

    status_code: int = HTTPStatus.UNPROCESSABLE_ENTITY
    default_code = "invalid_request"

    def __init__(
        self, message: str, *, code: str = "", param: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, code or self.default_code)
        self.code = code or self.default_code
        self.param = param
        self.status_code = status or self.status_code


def job_error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an error; None for unexpected ones, which Django answers with 500 or 503."""
    if isinstance(error, DjangoValidationError):
        error = exceptions.ValidationError(as_serializer_error(error))
    response = exception_handler(error, context)
    if response is None:
        return None
    status = response.status_code
    if isinstance(error, INVALID):
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    code, param = _code(error, status), getattr(error, "param", None)
    message = str(response.data.get("detail", "")) if isinstance(response.data, dict) else ""
    if isinstance(error, exceptions.ValidationError):
        param, message = _first(error.detail)
    body = json.loads(openai_error(status, message, code=code, param=param))
    # WWW-Authenticate, Retry-After and Allow stay.
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-type"}
    return Response(body, status, headers=headers)


def _code(error: Exception, status: int) -> str:
    if isinstance(error, JobError):
        return error.code
    return CODES.get(HTTPStatus(status), "invalid_request")


def _first(detail: Any, path: str = "") -> tuple[str | None, str]:
    """The first field at fault, as ``a.b`` or None for the whole body, and what is wrong."""
    if isinstance(detail, dict) and detail:
        name, inner = next(iter(detail.items()))
        whole = name in {"non_field_errors", "__all__"}
        return _first(inner, path if whole else f"{path}.{name}".strip("."))
    if isinstance(detail, list) and detail:
        return _first(next((problem for problem in detail if problem), detail[0]), path)
    return path or None, str(detail)
