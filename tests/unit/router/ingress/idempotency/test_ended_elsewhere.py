"""Calls that are ended by way of a router that cannot reach theirs."""

import asyncio
import time

import httpx

from router.adapters.memory import MemoryIdempotencyStore
from router.ports.upstream import StreamPart
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.idempotency.asking import CHAT, EVENT, PATH, headers
from tests.unit.router.ingress.serving import api_of, operations_of, serving
from tests.unit.router.pipeline.line import FakeUpstream, Line, in_time

STREAM = {**CHAT, "stream": True}


async def test_a_call_of_a_router_that_drains_is_ended_by_way_of_another() -> None:
    """It has withdrawn: nobody has its address any more, and it takes no connections."""
    store, limits = MemoryIdempotencyStore(time.monotonic), Limits()
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    draining, other = Line(upstream), Line(FakeUpstream(lambda _: []))
    apis = [
        api_of(line, limits, operations_of(line, limits), answers=store)
        for line in (draining, other)
    ]
    sent = headers() | {"x-route-linger-s": "60"}
    cancel = sent | {"x-route-cancel": "1"}
    async with (
        serving(apis[0], limits) as there,
        serving(apis[1], limits) as here,
        httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        url = f"http://127.0.0.1:{there}{PATH}"
        async with client.stream("POST", url, json=STREAM, headers=sent) as answer:
            assert answer.status_code == 200
            drained = asyncio.ensure_future(apis[0].drain(PATIENCE_S))
            ended = await client.post(f"http://127.0.0.1:{here}{PATH}", json=STREAM, headers=cancel)
            await in_time(lambda: bool(draining.records))
        await drained
        nothing = await client.post(f"http://127.0.0.1:{here}{PATH}", json=STREAM, headers=cancel)
    assert (ended.json(), nothing.json()) == ({"cancelled": True}, {"cancelled": False})
    assert [record.outcome for record in draining.records] == ["client_gone"]
    assert (draining.unresolved_nano, draining.slots_taken) == (0, 0)
    assert not other.records
