"""A short real call to an own endpoint, through the router: what it answers, or why it does not."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from marketplace.endpoints.models import OwnEndpoint, OwnTask
from marketplace.inference.callers import Caller
from marketplace.inference.tokens import CallerGone, caller_token
from router.contracts.bodies.completion import decode_completion
from router.contracts.wire import UNREADABLE

PROMPT = "Say hello in one word."
TOKENS_MAX = 16
DEADLINE_S = 20.0
TEXT_MAX = 300
PATHS = {OwnTask.CHAT: "/v1/chat/completions", OwnTask.EMBEDDINGS: "/v1/embeddings"}


@dataclass(frozen=True, slots=True)
class Tried:
    """How the call went. ``status`` is the router's, 0 where it was not reached; ``text`` is the
    beginning of the answer, or of the error. ``request_id`` names the call's record.
    """

    ok: bool
    status: int
    took_ms: float
    text: str
    request_id: str = ""


def own_endpoint_try(*, endpoint: OwnEndpoint, caller: Caller) -> Tried:
    """Call it now, once, and alone: not what it stands for. The call is metered like any other."""
    task = OwnTask(endpoint.task)
    asked: dict[str, Any] = {"model": endpoint.name}
    if task is OwnTask.CHAT:
        asked |= {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS_MAX}
    else:
        asked |= {"input": PROMPT}
    begun_s = time.monotonic()
    try:
        with httpx.Client(timeout=DEADLINE_S, trust_env=False) as router:
            answer = router.post(
                settings.WAYPOST_ROUTER_URL + PATHS[task],
                json=asked,
                headers={"Authorization": f"Bearer {caller_token(caller)}"},
            )
    except CallerGone as error:
        return Tried(False, 0, _ms_since(begun_s), str(error)[:TEXT_MAX])
    except httpx.ReadTimeout:
        said = _("No answer within %(seconds)s s.") % {"seconds": f"{DEADLINE_S:g}"}
        return Tried(False, 0, _ms_since(begun_s), said)
    except httpx.HTTPError:
        return Tried(False, 0, _ms_since(begun_s), _("The router was not reached."))
    return Tried(
        ok=answer.status_code == HTTPStatus.OK,
        status=answer.status_code,
        took_ms=_ms_since(begun_s),
        text=_text_of(answer.content, task)[:TEXT_MAX],
        request_id=answer.headers.get("x-request-id", ""),
    )


def _ms_since(begun_s: float) -> float:
    return (time.monotonic() - begun_s) * 1e3


def _text_of(body: bytes, task: OwnTask) -> str:
    try:
        found = decode_completion(body)
    except UNREADABLE:
        return ""
    if found.error is not None:
        return found.error.message
    if task is OwnTask.EMBEDDINGS:
        return ""
    return (found.choices[0].message.content or "") if found.choices else ""
