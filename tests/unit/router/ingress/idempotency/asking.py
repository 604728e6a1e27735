"""Calls under a key."""

import asyncio
from uuid import uuid4

import httpx

from router.domain.keys import SessionClaims, sign_session
from router.ports.upstream import Answer
from tests.unit.router.pipeline.line import ACCOUNT, KEY, PEPPER, USED

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def headers(key: str | None = None, credential: str = KEY) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}", "idempotency-key": key or str(uuid4())}


def session(organisation_id: int, user_id: int) -> str:
    """A token of a member who is signed in for the next minutes."""
    claims = SessionClaims(organisation_id, ACCOUNT, user_id, expires_at_s=2**40)
    return sign_session(claims, PEPPER)


async def leave(first: asyncio.Future[httpx.Response]) -> None:
    """Hang up during the call."""
    first.cancel()
    await asyncio.wait([first])
