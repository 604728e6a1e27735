"""OpenAI's shape of an error, which both planes answer below ``/v1/``."""

import msgspec

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
    504: "server_error",
}
"""The ``type`` of an error by its status."""

_encode = msgspec.json.Encoder().encode


def openai_error(status: int, message: str, *, code: str, param: str | None = None) -> bytes:
    """``{"error": {"message", "type", "param", "code"}}``."""
    unlisted = "invalid_request_error" if status < 500 else "server_error"
    kind = TYPES.get(status, unlisted)
    error = {"message": message, "type": kind, "param": param, "code": code}
    return _encode({"error": error})
