"""Everything that can go wrong with a call; :mod:`router.ingress.errors` maps it to HTTP.

A message says what was wrong, with the value, and what would be right; it is shown to clients and
so never contains a credential, a prompt or an inside address.
"""


class CallError(Exception):
    """Base of what a client may be told.

    ``param`` names the offending field, ``retry_after_s`` when another try makes sense, and
    ``headers`` are told with it.
    """

    code: str = "error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = headers


class RequestInvalid(CallError):
    """The request cannot be understood or breaks a documented limit."""

    code = "invalid_request"


class RequestMalformed(CallError):
    """What came is not HTTP/1.1."""

    code = "malformed_request"


class RequestTooSlow(CallError):
    """The request took longer to come than ``ROUTER_HEADER_TIMEOUT_S`` and the like allow."""

    code = "request_too_slow"


class HeadersTooLarge(CallError):
    """The headers exceed ``ROUTER_HEADER_BYTES_MAX``."""

    code = "headers_too_large"


class BodyTooLarge(CallError):
    """The body exceeds ``ROUTER_BODY_BYTES_MAX``."""

    code = "body_too_large"


class CodingUnknown(CallError):
    """The body is compressed in a way that is not read here."""

    code = "unsupported_content_encoding"


class RouteNotFound(CallError):
    """No such path or method."""

    code = "not_found"


class CredentialInvalid(CallError):
    """No credential, or one that is unknown, expired or revoked."""

    code = "invalid_api_key"


class NotAllowed(CallError):
    """A good credential that may not do this."""

    code = "not_allowed"


class ModelUnknown(CallError):
    """No model of that name is published."""

    code = "model_not_found"


class CallUnknown(CallError):
    """No call of that id was made with this key's organisation."""

    code = "call_not_found"


class IdempotencyInFlight(CallError):
    """The first call of this Idempotency-Key still runs."""

    code = "idempotency_in_flight"


class IdempotencyMismatch(CallError):
    """The Idempotency-Key was used for another request before."""

    code = "idempotency_mismatch"


class CreditExhausted(CallError):
    """The account cannot cover the most that this call could cost."""

    code = "insufficient_credit"


class BudgetExhausted(CallError):
    """A budget of the key, its member or the organisation cannot cover this call."""

    code = "budget_exhausted"


class DeadlineExceeded(CallError):
    """The caller's own deadline passed before an answer."""

    code = "deadline_exceeded"


class QueueFull(CallError):
    """More requests wait than ``ROUTER_QUEUE_MAX`` allows, or one waited too long."""

    code = "queue_full"


class RateLimited(CallError):
    """A limit of the key or its organisation is used up."""

    code = "rate_limited"


class RouterBusy(CallError):
    """More calls run on this router than ``ROUTER_CALLS_MAX`` allows."""

    code = "router_busy"


class NothingEligible(CallError):
    """No deployment may or can take the request now."""

    code = "no_eligible_worker"


class LedgerUnavailable(CallError):
    """Credit could not be checked for want of the database: our fault, never a 401 or 402."""

    code = "ledger_unavailable"


class SnapshotUnavailable(CallError):
    """The router has not seen a catalog yet."""

    code = "not_ready"


class WorkerRefused(CallError):
    """The worker found the request wrong, and is quoted: its ``status``, words, code and field."""

    code = "invalid_request"

    def __init__(
        self, message: str, *, status: int = 422, code: str = "", param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code or type(self).code


class WorkerFailed(CallError):
    """The last worker tried did not answer as it should have."""

    code = "worker_failed"


class RequestFailed(WorkerFailed):
    """All workers that were tried, sound for others, failed on it alike: it is its own doing."""
