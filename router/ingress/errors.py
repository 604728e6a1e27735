"""The one table from errors to HTTP, and the two shapes that clients expect an error in."""

import msgspec

from router.domain import errors
from router.domain.errors import CallError

STATUS: dict[type[CallError], int] = {
    errors.RequestMalformed: 400,
    errors.CredentialInvalid: 401,
    errors.CreditExhausted: 402,
    errors.BudgetExhausted: 402,
    errors.NotAllowed: 403,
    errors.ModelUnknown: 404,
    errors.RouteNotFound: 404,
    errors.CallUnknown: 404,
    errors.DeadlineExceeded: 408,
    errors.RequestTooSlow: 408,
    errors.IdempotencyInFlight: 409,
    errors.BodyTooLarge: 413,
    errors.CodingUnknown: 415,
    errors.RequestInvalid: 422,
    errors.IdempotencyMismatch: 422,
    errors.WorkerRefused: 422,
    errors.QueueFull: 429,
    errors.RateLimited: 429,
    errors.HeadersTooLarge: 431,
    errors.WorkerFailed: 502,
    errors.RequestFailed: 502,
    errors.NothingEligible: 503,
    errors.RouterBusy: 503,
    errors.LedgerUnavailable: 503,
    errors.SnapshotUnavailable: 503,
}

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
}

ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
}
"""Anthropic's words; what is not here is ``invalid_request_error``."""

_encode = msgspec.json.Encoder().encode


def status_of(error: CallError) -> int:
    """The HTTP status; 500 for an error that nobody has put into the table."""
    if isinstance(error, errors.WorkerRefused):
        return error.status
    return STATUS.get(type(error), 500)


def error_headers(error: CallError) -> list[tuple[str, str]]:
    """``Retry-After`` in whole seconds, at least one, where another try makes sense, and
    ``X-Should-Retry`` (OpenAI's and Anthropic's SDKs) where it makes none.
    """
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, round(error.retry_after_s)))))
    if _is_final(error):
        headers.append(("x-should-retry", "false"))
    headers.extend(error.headers)
    return headers


def _is_final(error: CallError) -> bool:
    """Whether SDKs would try again, by the status alone, what cannot end otherwise."""
    if isinstance(error, errors.NothingEligible):
        return error.retry_after_s is None
    return isinstance(error, errors.DeadlineExceeded)


def openai_error(error: CallError) -> bytes:
    """``{"error": {"message", "type", "param", "code"}}``."""
    body = {
        "message": error.message,
        "type": TYPES[status_of(error)],
        "param": error.param,
        "code": error.code,
    }
    return _encode({"error": body})


def oip_error(error: CallError) -> bytes:
    """``{"error": "message"}``, as the Open Inference Protocol has it."""
    return _encode({"error": error.message})


def anthropic_error(error: CallError) -> bytes:
    """``{"type": "error", "error": {"type", "message"}}``."""
    kind = ANTHROPIC_TYPES.get(status_of(error), "invalid_request_error")
    return _encode({"type": "error", "error": {"type": kind, "message": error.message}})
