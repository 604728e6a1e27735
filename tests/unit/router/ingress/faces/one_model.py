"""The whole router over one model of a task, with a real HTTP worker behind it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx
import openai
from aiohttp import web
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Deployment, Model, Pool, Worker
from router.domain.pricing import Price
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import FUNDS_NANO, KEY, Line, snapshot

AUTH = {"authorization": f"Bearer {KEY}"}
NAME = "a/one"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """A client of the router, what it wrote down, and how often its worker was asked."""

    client: httpx.AsyncClient
    line: Line
    asked: list[str]

    @property
    def openai(self) -> openai.AsyncOpenAI:
        """The official client."""
        base_url = f"{str(self.client.base_url).rstrip('/')}/v1"
        return openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0)

    async def post(self, path: str, **how: object) -> httpx.Response:
        return await self.client.post(path, headers=AUTH, **how)  # type: ignore[arg-type]

    def untouched(self) -> bool:
        """Whether nothing ran, was charged, is held, or is held against a worker."""
        workers = self.line.scheduler.fleet.workers.values()
        return not (
            self.asked
            or any(record.charge_nano for record in self.line.records)
            or self.line.unresolved_nano
            or any(worker.inflight for worker in workers)
        )


def catalog_of(
    task: str, url: str, price: Price, parameters: tuple[str, ...] = (), workers: int = 1
) -> Snapshot:
    return structs.replace(
        snapshot(),
        models=(Model(NAME, task, "1", 0), Model("a/m", "chat", "1", 0)),
        pools=(Pool("one", "gpu"),),
        workers=tuple(Worker(f"one-{n}", "one", url, "openai", 4) for n in range(workers)),
        deployments=(
            Deployment(1, NAME, "north", 21, "one", "upstream-name", price, parameters=parameters),
        ),
    )


@contextlib.asynccontextmanager
async def served(
    task: str,
    handler: Handler,
    price: Price,
    *,
    limits: Limits | None = None,
    funds_nano: int = FUNDS_NANO,
    parameters: tuple[str, ...] = (),
    workers: int = 1,
) -> AsyncIterator[Served]:
    """Every call of the model goes to ``handler``."""
    limits = limits or Limits()
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await handler(request)

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as http:
            catalog = catalog_of(task, f"http://{host}:{port}", price, parameters, workers)
            upstream = OpenAIUpstream(http, limits)
            line = Line(upstream, catalog=catalog, limits=limits, funds_nano=funds_nano)
            async with calling(line, limits) as client:
                yield Served(client, line, asked)
    finally:
        await runner.cleanup()
