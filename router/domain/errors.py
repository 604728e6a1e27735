"""Everything that can go wrong with a call: the one table of errors that a client can get.

A message says what was wrong, with the value, and what would be right. Clients see it, so it
never contains a credential, a prompt or an internal address.
"""

import re

from router.domain.outcome import Outcome

is_name = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch

CONTEXT_EXCEEDED = "context_length_exceeded"
"""OpenAI's code for a prompt that is too long. Clients that see it send a shorter prompt."""


class CallError(Exception):
    """Base of the errors that a client can get.

    ``status`` is the HTTP status, ``outcome`` is how the books record a call that ends with it.
    ``param`` names the offending field. ``retry_after_s`` is set when another try makes sense.
    ``headers`` go out with the answer.
    """

    code: str = "error"
    status: int = 500
    outcome: Outcome = Outcome.REJECTED

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

    @property
    def recorded_code(self) -> str:
        """The code as records keep it. A worker may have chosen it: what is no name is not kept."""
        return self.code if is_name(self.code) else type(self).code

    @property
    def counted_code(self) -> str:
        """The code as metrics have it, which keep each for ever: none that a worker made up."""
        return self.code if self.code == CONTEXT_EXCEEDED else type(self).code


class RequestInvalid(CallError):
    """The request cannot be understood or breaks a documented limit."""

    code = "invalid_request"
    status = 422


class RequestMalformed(CallError):
    """The bytes received are not HTTP/1.1."""

    code = "malformed_request"
    status = 400


class RequestTooSlow(CallError):
    """The request took longer to arrive than a limit such as ``ROUTER_HEADER_TIMEOUT_S`` allows."""

    code = "request_too_slow"
    status = 408


class HeadersTooLarge(CallError):
    """The headers exceed ``ROUTER_HEADER_BYTES_MAX``."""

    code = "headers_too_large"
    status = 431


class BodyTooLarge(CallError):
    """The body exceeds ``ROUTER_BODY_BYTES_MAX``."""

    code = "body_too_large"
    status = 413


class CodingUnknown(CallError):
    """The body's content encoding is not supported."""

    code = "unsupported_content_encoding"
    status = 415


class RouteNotFound(CallError):
    """No such path, or no such method on it."""

    code = "not_found"
    status = 404


class CredentialInvalid(CallError):
    """The credential is missing, unknown, expired or revoked."""

    code = "invalid_api_key"
    status = 401


class NotAllowed(CallError):
    """The credential is valid but may not do this."""

    code = "not_allowed"
    status = 403


class ContentFlagged(CallError):
    """A guardrail of the key or its organisation flags the call, or its answer."""

    code = "content_flagged"
    status = 403


class ModelUnknown(CallError):
    """No model of that name is published."""

    code = "model_not_found"
    status = 404


class PresetUnknown(CallError):
    """The key's organisation has no preset of that name."""

    code = "preset_not_found"
    status = 404


class CallUnknown(CallError):
    """The key's organisation made no call with that id."""

    code = "call_not_found"
    status = 404


class ResponseUnknown(CallError):
    """The key's organisation keeps no response with that id."""

    code = "response_not_found"
    status = 404


class PreviousResponseUnknown(CallError):
    """The response to go on from, or one before it, is not kept."""

    code = "previous_response_not_found"
    status = 400


class IdempotencyInFlight(CallError):
    """The first call with this Idempotency-Key still runs."""

    code = "idempotency_in_flight"
    status = 409


class IdempotencyMismatch(CallError):
    """The Idempotency-Key was already used for another request."""

    code = "idempotency_mismatch"
    status = 422


class CreditExhausted(CallError):
    """The account cannot cover the most that this call could cost."""

    code = "insufficient_credit"
    status = 402


class BudgetExhausted(CallError):
    """A budget of the key, its member or the organisation cannot cover this call."""

    code = "budget_exhausted"
    status = 402


class DeadlineExceeded(CallError):
    """The caller's own deadline passed before an answer."""

    code = "deadline_exceeded"
    status = 408


class QueueFull(CallError):
    """More requests wait than ``ROUTER_QUEUE_MAX`` allows, or this one waited too long."""

    code = "queue_full"
    status = 429


class OwnEndpointFull(QueueFull):
    """The organisation's own endpoint has no room: it says so, or all its places are taken."""

    code = "own_endpoint_full"


class RateLimited(CallError):
    """A limit of the key or its organisation is used up."""

    code = "rate_limited"
    status = 429


class RouterBusy(CallError):
    """More calls run on this router than ``ROUTER_CALLS_MAX`` allows."""

    code = "router_busy"
    status = 503


class JobsUnavailable(CallError):
    """The web process, which serves what need not wait, is away or broke off."""

    code = "jobs_unavailable"
    status = 503


class NothingEligible(CallError):
    """No deployment may or can take the request now."""

    code = "no_eligible_worker"
    status = 503


class OwnEndpointAway(NothingEligible):
    """No server of the organisation's own endpoint takes calls now."""

    code = "own_endpoint_away"


class GuardrailFailed(CallError):
    """A guardrail could not judge the call or its answer, and lets nothing pass unjudged."""

    code = "guardrail_failed"
    status = 503


class LedgerUnavailable(CallError):
    """The database was away, so credit could not be checked: our fault, never a 401 or 402."""

    code = "ledger_unavailable"
    status = 503


class SnapshotUnavailable(CallError):
    """The router has not seen a catalog yet."""

    code = "not_ready"
    status = 503


class WorkerRefused(CallError):
    """The worker refused the request. The error quotes its ``status``, message, code and field."""

    code = "invalid_request"
    status = 422
    outcome = Outcome.REFUSED

    def __init__(
        self, message: str, *, status: int = 422, code: str = "", param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code or type(self).code


class WorkerFailed(CallError):
    """The last worker tried did not give a proper answer."""

    code = "worker_failed"
    status = 502
    outcome = Outcome.WORKER_FAILED


class OwnEndpointFailed(WorkerFailed):
    """The organisation's own endpoint did not give a proper answer."""

    code = "own_endpoint_failed"


class RequestFailed(WorkerFailed):
    """Every worker tried failed on it in the same way but serves others: the request's fault."""

    outcome = Outcome.REFUSED


class InternalError(CallError):
    """A fault of ours. The log has the details; the client gets the request id."""

    code = "internal_error"


class StreamBroken(WorkerFailed):
    """The worker failed after it had begun to answer."""


class StreamTooLong(CallError):
    """An answer takes longer than ``ROUTER_STREAM_MAX_S``."""

    code = "stream_too_long"
    status = 504


class HoldUsedUp(CallError):
    """An answer is longer than anything that can be held for it."""

    code = "hold_used_up"
    status = 502


class CreditUsedUp(CallError):
    """The credit, or what is left of a budget, does not cover more of an answer."""

    code = "credit_used_up"
    status = 402
