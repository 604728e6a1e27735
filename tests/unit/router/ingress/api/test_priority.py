"""How urgent a call is."""

import httpx
import pytest

from router.domain.catalog import Endpoint
from router.domain.request import InferenceRequest
from router.ports.upstream import Answer
from tests.unit.router.ingress.api.edge import ANSWER, AUTH, CHAT, TENSORS, client_of
from tests.unit.router.pipeline.line import FakeUpstream, Line

ROW = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}


class Urgency(FakeUpstream):
    """Keeps the priorities of what it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda e: TENSORS if e.worker.protocol == "oip" else ANSWER)
        self.asked: list[str] = []

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self.asked.append(request.wishes.priority)
        return await super().answer(request, endpoint)


@pytest.mark.parametrize(
    ("path", "body", "priority"),
    [
        ("/v1/chat/completions", CHAT, "batch"),
        ("/v1/chat/completions", {**CHAT, "provider": {"priority": "interactive"}}, "interactive"),
        ("/v2/models/a/t/infer", ROW, "batch"),
    ],
)
async def test_a_header_gives_the_priority_where_the_body_asks_for_none(
    path: str, body: object, priority: str
) -> None:
    upstream = Urgency()
    async with client_of(Line(upstream)) as client:
        answer = await client.post(path, json=body, headers={**AUTH, "x-route-priority": "batch"})
    assert (answer.status_code, upstream.asked) == (200, [priority])


async def test_an_unknown_priority_is_refused(client: httpx.AsyncClient) -> None:
    headers = {**AUTH, "x-route-priority": "urgent"}
    answer = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "X-Route-Priority"
