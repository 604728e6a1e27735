"""Errors in the shapes that clients expect."""

import msgspec

from router.contracts.openai_error import openai_error as openai_shape
from router.domain import errors
from router.domain.errors import CallError

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
    504: "timeout_error",
}
"""Anthropic's types of errors; all others are ``invalid_request_error``."""

_encode = msgspec.json.Encoder().encode


def error_headers(error: CallError) -> list[tuple[str, str]]:
    """``Retry-After`` in whole seconds, at least one, if another try makes sense.

    If it makes none, ``X-Should-Retry`` says so (read by OpenAI's and Anthropic's SDKs).
    """
    headers = [("content-type", "application/json")]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, round(error.retry_after_s)))))
    if _is_final(error):
        headers.append(("x-should-retry", "false"))
    headers.extend(error.headers)
    return headers


def _is_final(error: CallError) -> bool:
    """Whether SDKs would retry by the status alone, although the result cannot differ."""
    if isinstance(error, errors.NothingEligible | errors.JobsUnavailable):
        return error.retry_after_s is None
    return isinstance(error, errors.DeadlineExceeded)


def openai_error(error: CallError) -> bytes:
    """``{"error": {"message", "type", "param", "code"}}``."""
    return openai_shape(error.status, error.message, code=error.code, param=error.param)


def oip_error(error: CallError) -> bytes:
    """``{"error": "message"}``, as in the Open Inference Protocol."""
    return _encode({"error": error.message})


def anthropic_error(error: CallError) -> bytes:
    """``{"type": "error", "error": {"type", "message"}}``."""
    kind = ANTHROPIC_TYPES.get(error.status, "invalid_request_error")
    return _encode({"type": "error", "error": {"type": kind, "message": error.message}})


def rerank_error(error: CallError) -> bytes:
    """``{"message", "detail", "code", "param"}``: Cohere's clients read the first, Jina's the
    second.
    """
    return _encode(
        {
            "message": error.message,
            "detail": error.message,
            "code": error.code,
            "param": error.param,
        }
    )
