"""A guardrail by the real moderation model, on the real Triton."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Deployment, Endpoint, Guard, Pool, Worker
from router.domain.pricing import Price
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer, StreamPart
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.oip_http import HTTPTransport, OIPUpstream
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.guarding.shop import GUARD, HEADERS, INPUT_NANO, Judge, catalog
from tests.unit.router.pipeline.line import Line

CALM, HATEFUL = "What a lovely day.", "white trash hillbilly"


class RealJudge(Judge):
    """Answers chats by a script, and has moderations answered by Triton."""

    def __init__(self, triton: OIPUpstream, says: str) -> None:
        super().__init__(says)
        self._triton = triton

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        if request.kind is Kind.MODERATION:
            return await self._triton.answer(request, endpoint)
        return await super().answer(request, endpoint)

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        return super().stream(request, endpoint)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "said", "found"),
    [
        (CALM, CALM, "input=passed, output=passed"),
        (HATEFUL, CALM, "input=flagged:hate"),
        (CALM, HATEFUL, "input=passed, output=flagged:hate"),
    ],
)
async def test_hate_is_refused_on_both_sides(
    triton_url: str, asked: str, said: str, found: str, stream: bool
) -> None:
    made = catalog(Guard(GUARD, answers=True))
    made = structs.replace(
        made,
        pools=(*made.pools[:-1], Pool("judges", "cpu")),
        workers=(*made.workers[:-1], Worker("judge-0", "judges", triton_url, "oip", 4)),
        deployments=(
            *made.deployments[:-1],
            Deployment(9, GUARD, "north", 21, "judges", "hatesonar", Price(9, row_nano=INPUT_NANO)),
        ),
    )
    limits = Limits()
    async with HTTPClient(limits, AddressPolicy(EVERYWHERE)) as http:
        line = Line(RealJudge(OIPUpstream(HTTPTransport(http, limits)), said), catalog=made)
        async with calling(line) as client:
            answer = await _asked(client, asked, stream=stream)
    *judged, served = line.records
    assert served.guarded == found
    assert all(record.charge_nano == INPUT_NANO for record in judged)
    assert all(record.worker_id == "judge-0" for record in judged)
    if "flagged" in found:
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "content_flagged"
        assert said not in answer.text
    else:
        assert answer.status_code == 200
        assert answer.headers["x-route-guarded"] == found


async def _asked(client: httpx.AsyncClient, text: str, *, stream: bool) -> httpx.Response:
    body: dict[str, Any] = {"model": "a/m", "messages": [{"role": "user", "content": text}]}
    return await client.post(
        "/v1/chat/completions", json={**body, "stream": stream}, headers=HEADERS
    )
