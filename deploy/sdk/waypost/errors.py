"""Everything that can go wrong, as a tree. A class below :class:`ApiError` stands for one ``code``.

WaypostError
    NotConfigured         no key, no such address
    Unreachable           nothing was sent
    ConnectionBroken      sent, and nobody knows whether it was done
        TimedOut
    StreamBroken          an answer ended before its end
    AnswerInvalid         what came is not what the API answers
    ApiError              an answer that says no, by status
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

MESSAGE_CHARACTERS_MAX = 2_000


class WaypostError(Exception):
    """Base of all errors of this package. Its text is for people."""


class NotConfigured(WaypostError):
    """No key, or an address or a key that cannot be one. Nothing was sent."""


class Unreachable(WaypostError):
    """No connection could be made: nothing was sent, nothing is charged."""


class ConnectionBroken(WaypostError):
    """The connection broke after the request was sent: it may have been done, and charged."""


class TimedOut(ConnectionBroken):
    """Nothing came for as long as was waited."""


class StreamBroken(WaypostError):
    """A stream ended before its end was told. What came until then is charged."""


class AnswerInvalid(WaypostError):
    """The answer is not what this API answers: is the address right?"""


class ApiError(WaypostError):
    """An answer that says no.

    ``code`` is the API's own word for it ("" where the answer has none), ``param`` the field at
    fault. ``retry_after_s`` is set when another try makes sense. ``request_id`` finds the call on
    the Usage page and by ``client.record``.
    """

    code: ClassVar[str] = ""
    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        param: str | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.given_code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body = body

    def __str__(self) -> str:
        head = " ".join(filter(None, (str(self.status), self.given_code)))
        field = f"{self.param}: " if self.param and self.param not in self.message else ""
        more = []
        if self.retry_after_s is not None:
            more.append(f"try again in {self.retry_after_s:g} s")
        if self.request_id:
            more.append(f"request {self.request_id}")
        tail = f" ({'; '.join(more)})" if more else ""
        return f"{head}: {field}{self.message}{tail}"


# --- by status --------------------------------------------------------------------------------


class AuthenticationFailed(ApiError):
    statuses = (401,)


class PaymentRequired(ApiError):
    statuses = (402,)


class PermissionRefused(ApiError):
    statuses = (403,)


class NotFound(ApiError):
    statuses = (404,)


class TooLate(ApiError):
    statuses = (408,)


class Conflict(ApiError):
    statuses = (409,)


class BadRequest(ApiError):
    """400, 405, 413, 415, 422, 431: the request itself is wrong."""

    statuses = (400, 405, 413, 415, 422, 431)


class Limited(ApiError):
    statuses = (429,)


class ServiceFailed(ApiError):
    """500, 502, 503, 504: not the request's fault."""

    statuses = (500, 502, 503, 504)


# --- by code; the names are those of docs/reference/errors.md ---------------------------------


class CredentialInvalid(AuthenticationFailed):
    code = "invalid_api_key"


class CreditExhausted(PaymentRequired):
    code = "insufficient_credit"


class BudgetExhausted(PaymentRequired):
    code = "budget_exhausted"


class CreditUsedUp(PaymentRequired):
    code = "credit_used_up"


class NotAllowed(PermissionRefused):
    code = "not_allowed"


class ContentFlagged(PermissionRefused):
    code = "content_flagged"


class ModelUnknown(NotFound):
    code = "model_not_found"


class PresetUnknown(NotFound):
    code = "preset_not_found"


class CallUnknown(NotFound):
    code = "call_not_found"


class ResponseUnknown(NotFound):
    code = "response_not_found"


class RouteNotFound(NotFound):
    code = "not_found"


class DeadlineExceeded(TooLate):
    code = "deadline_exceeded"


class RequestTooSlow(TooLate):
    code = "request_too_slow"


class IdempotencyInFlight(Conflict):
    code = "idempotency_in_flight"


class FileInUse(Conflict):
    code = "file_in_use"


class PredictionOver(Conflict):
    code = "prediction_over"


class PredictionNotOver(Conflict):
    code = "prediction_not_over"


class PreviousResponseUnknown(BadRequest):
    code = "previous_response_not_found"


class RequestMalformed(BadRequest):
    code = "malformed_request"


class RequestInvalid(BadRequest):
    code = "invalid_request"


class ContextLengthExceeded(BadRequest):
    code = "context_length_exceeded"


class IdempotencyMismatch(BadRequest):
    code = "idempotency_mismatch"


class BodyTooLarge(BadRequest):
    code = "body_too_large"


class FilesQuotaExceeded(BadRequest):
    code = "files_quota_exceeded"


class CodingUnknown(BadRequest):
    code = "unsupported_content_encoding"


class HeadersTooLarge(BadRequest):
    code = "headers_too_large"


class RateLimited(Limited):
    code = "rate_limited"


class QueueFull(Limited):
    code = "queue_full"


class OwnEndpointFull(QueueFull):
    code = "own_endpoint_full"


class InternalError(ServiceFailed):
    code = "internal_error"


class WorkerFailed(ServiceFailed):
    code = "worker_failed"


class OwnEndpointFailed(WorkerFailed):
    code = "own_endpoint_failed"


class HoldUsedUp(ServiceFailed):
    code = "hold_used_up"


class NothingEligible(ServiceFailed):
    code = "no_eligible_worker"


class OwnEndpointAway(NothingEligible):
    code = "own_endpoint_away"


class RouterBusy(ServiceFailed):
    code = "router_busy"


class JobsUnavailable(ServiceFailed):
    code = "jobs_unavailable"


class GuardrailFailed(ServiceFailed):
    code = "guardrail_failed"


class LedgerUnavailable(ServiceFailed):
    code = "ledger_unavailable"


class SnapshotUnavailable(ServiceFailed):
    code = "not_ready"


class StreamTooLong(ServiceFailed):
    code = "stream_too_long"


def _below(base: type[ApiError]) -> Iterator[type[ApiError]]:
    for error in base.__subclasses__():
        yield error
        yield from _below(error)


BY_CODE: Mapping[str, type[ApiError]] = {
    error.code: error for error in _below(ApiError) if error.code
}
BY_STATUS: Mapping[int, type[ApiError]] = {
    status: error for error in ApiError.__subclasses__() for status in error.statuses
}


def error_of(
    status: int,
    body: Any,
    *,
    request_id: str = "",
    retry_after_s: float | None = None,
) -> ApiError:
    """The error that an answer is.

    ``body`` is its JSON, in OpenAI's shape, the Open Inference Protocol's or a problem document's;
    or its text, where it is none of these.
    """
    message, code, param = _read(body)
    kind = BY_CODE.get(code) or BY_STATUS.get(status)
    if kind is None:
        kind = ServiceFailed if status >= 500 else BadRequest
    return kind(
        message[:MESSAGE_CHARACTERS_MAX] or "no reason was given",
        status=status,
        code=code,
        param=param,
        request_id=request_id,
        retry_after_s=retry_after_s,
        body=body,
    )


def error_in_stream(error: Mapping[str, Any], *, request_id: str = "") -> ApiError:
    """The error that came inside a stream, whose status was 200: its code says which it is."""
    kind = BY_CODE.get(str(error.get("code")), ServiceFailed)
    status = next(status for base in kind.__mro__ for status in getattr(base, "statuses", ()))
    return error_of(status, {"error": error}, request_id=request_id)


def _read(body: Any) -> tuple[str, str, str | None]:
    """Message, code and field."""
    if not isinstance(body, Mapping):
        return str(body).strip(), "", None
    error = body.get("error")
    if isinstance(error, Mapping):
        param = error.get("param")
        return str(error.get("message") or ""), str(error.get("code") or ""), param and str(param)
    if isinstance(error, str):
        return error, "", None
    problems = body.get("errors")
    if isinstance(problems, list) and problems and isinstance(problems[0], Mapping):
        said = "; ".join(_problem(problem) for problem in problems if isinstance(problem, Mapping))
        return said, "", str(problems[0].get("field") or "") or None
    return str(body.get("detail") or body.get("title") or ""), "", None


def _problem(problem: Mapping[str, Any]) -> str:
    field, message = str(problem.get("field") or ""), str(problem.get("message") or "")
    return f"{field}: {message}" if field else message
