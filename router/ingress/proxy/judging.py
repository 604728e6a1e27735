"""Has the owners of moderation models judge calls that another router serves."""

import time

import msgspec
from msgspec import Struct

from router.contracts.wire import UNREADABLE
from router.domain.errors import WorkerFailed
from router.domain.keys import SessionClaims, sign_session
from router.domain.protocols import KINDS
from router.domain.request import InferenceRequest
from router.ingress.proxy.forward import OK, TRACEPARENT, Forwarder
from router.pipeline.plans.routing_table import Grant

TOKEN_S = 60
"""How long the token of one judgement is good for."""

_encode = msgspec.json.Encoder().encode


class _Error(Struct, frozen=True):
    message: str = ""


class _Body(Struct, frozen=True):
    error: _Error = _Error()


_decode = msgspec.json.Decoder(_Body).decode


class OwnersJudge:
    """A :class:`router.pipeline.guarding.judging.Moderator`.

    The owner is told by a token whose purse pays and what is judged: the caller's own key may not
    use the model, and its limits count the call that is judged.
    """

    def __init__(self, forwarder: Forwarder, pepper: bytes) -> None:
        self._forwarder = forwarder
        self._pepper = pepper

    async def moderated(self, grant: Grant, call: InferenceRequest) -> bytes | None:
        """See :class:`router.pipeline.guarding.judging.Moderator`."""
        claims = SessionClaims(
            grant.organisation_id,
            grant.purse.account_id,
            grant.user_id,
            int(time.time()) + TOKEN_S,
            key_id=grant.key_id,
            batch=grant.batch,
            judges=grant.judges,
        )
        headers = [
            ("authorization", f"Bearer {sign_session(claims, self._pepper)}"),
            ("content-type", "application/json"),
        ]
        if call.traceparent:
            headers.append((TRACEPARENT, call.traceparent))
        wishes = {
            "data_collection": call.wishes.data_collection,
            "deadline_ms": call.wishes.deadline_ms,
            "priority": call.wishes.priority,
        }
        body = _encode({**call.fields, "provider": wishes})
        found = await self._forwarder.fetched(call.model, KINDS[call.kind].path, headers, body)
        if found is None:
            return None
        status, _, answer = found
        if status != OK:
            raise WorkerFailed(_message(answer) or f"the answer was {status}")
        return answer


def _message(body: bytes) -> str:
    try:
        return _decode(body).error.message
    except UNREADABLE:
        return ""
