"""Clients of the whole edge, what they ask and what workers answer."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from router.ports.upstream import Answer
from router.settings import Limits
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, Line

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
TENSORS = Answer(b'{"model_name":"a/t","outputs":[]}', "application/json", None)
ORIGIN = "http://pages.example"
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
BODY_BYTES_MAX = 2_000


@contextlib.asynccontextmanager
async def client_of(line: Line, *origins: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = Limits(body_bytes_max=BODY_BYTES_MAX)
    async with calling(line, limits, origins or (ORIGIN,)) as client:
        yield client
