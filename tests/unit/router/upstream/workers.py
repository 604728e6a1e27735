"""Workers as real HTTP servers, and calls to them."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from aiohttp import web

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price
from router.domain.request import InferenceRequest, Kind
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from tests.unit.router.ingress.reading import parse_call

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LIMITS = Limits(connect_timeout_s=30, answer_bytes_max=10_000, event_bytes_max=1_000)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server that answers every request by ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def endpoint(url: str, *, protocol: str = "openai", upstream_model: str = "a/m") -> Endpoint:
    worker = Worker("w", "p", url, protocol, 1)
    deployment = Deployment(1, "a/m", "n", 1, "p", upstream_model, Price(1))
    return Endpoint("e", deployment, worker, Pool("p", "cpu"))


def call(kind: Kind = Kind.CHAT, **fields: object) -> InferenceRequest:
    body = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}], "input": "x", **fields}
    return parse_call(
        kind,
        msgspec.json.encode(body),
        request_id="r",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )


async def answer(url: str, limits: Limits = LIMITS):
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        return await OpenAIUpstream(client, limits).answer(call(), endpoint(url))


def replying(status: int, body: bytes, content_type: str = "application/json") -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=content_type)

    return handle
