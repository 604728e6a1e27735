"""Engines that are asked over HTTP, as real servers that answer well and badly."""

import asyncio

import pytest
from aiohttp import web

from router.contracts.engines.engine_report import EngineReport
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Worker
from router.ports.upstream import UpstreamFailed
from router.settings import Limits
from router.upstream.engine_reports import MetricsReports
from router.upstream.http import HTTPClient
from tests.unit.router.upstream.workers import Handler, replying, serving

LIMITS = Limits(engine_poll_timeout_s=30, engine_poll_bytes_max=1_000)
GOOD = b"vllm:num_requests_running{} 3\nvllm:num_requests_waiting{} 1\n"


async def report(handler: Handler, limits: Limits = LIMITS) -> EngineReport:
    async with serving(handler) as url, HTTPClient(limits, AddressPolicy(EVERYWHERE)) as client:
        return await MetricsReports(client, limits).report(Worker("w", "p", url, "openai", 1))


async def test_metrics_are_asked_for_and_read() -> None:
    async def handle(request: web.Request) -> web.Response:
        assert (request.method, request.path) == ("GET", "/metrics")
        return web.Response(body=GOOD)

    assert await report(handle) == EngineReport(4.0)


async def test_more_than_the_bound_is_not_read() -> None:
    with pytest.raises(UpstreamFailed):
        await report(replying(200, GOOD + b"#" * 1_000))


@pytest.mark.parametrize("status", [302, 401, 404, 500])
async def test_another_status_is_no_report(status: int) -> None:
    with pytest.raises(UpstreamFailed, match=f"http_{status}"):
        await report(replying(status, GOOD))


async def test_an_engine_that_does_not_answer_in_time_has_said_nothing() -> None:
    async def handle(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    with pytest.raises(UpstreamFailed, match="timeout"):
        await report(handle, Limits(engine_poll_timeout_s=0.05))
