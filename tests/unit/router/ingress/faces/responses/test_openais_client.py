"""OpenAI's client, served with responses."""

from typing import Any

import msgspec
import openai
import pytest

from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from tests.unit.router.ingress.faces.responses.wire import ASK, USAGE, chunk, client_of, usage_chunk
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import COST_NANO, KEY, USED, FakeUpstream, Line


async def test_openais_client_is_served_and_charged_as_for_a_chat() -> None:
    body = {
        "model": "a/m",
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    plain = Answer(msgspec.json.encode(body), "application/json", USED, "stop")
    line = Line(FakeUpstream(lambda _: plain))
    async with calling(line) as http:
        client = client_of(http.base_url)
        raw = await client.responses.with_raw_response.create(**ASK)
        response = raw.parse()
        assert response.output_text == "hello"
        assert response.store is True
        assert raw.headers["x-cost-nano-usd"] == str(COST_NANO)
        assert response.id == "resp_" + raw.headers["x-request-id"].replace("-", "")
        key = {"Idempotency-Key": "k"}
        first = await client.responses.create(**ASK, extra_headers=key)
        again = await client.responses.create(**ASK, extra_headers=key)
        assert first == again
        explained = await client.responses.create(**ASK, extra_headers={"X-Route-Explain": "1"})
        assert explained.route["cost_nano_usd"] == COST_NANO
        with pytest.raises(openai.UnprocessableEntityError, match="web_search") as refused:
            await client.responses.create(**ASK, tools=[{"type": "web_search"}])
        assert refused.value.param == "tools"
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="a/none", input="hi")
        with pytest.raises(openai.AuthenticationError):
            await client_of(http.base_url, "x").responses.create(**ASK)
    assert [record.charge_nano for record in line.records] == [COST_NANO] * 3
    assert {record.kind for record in line.records} == {"chat"}
    assert line.unresolved_nano == 0


async def test_openais_client_follows_a_stream_and_is_told_where_it_breaks() -> None:
    steps: list[Any] = [StreamPart(chunk(content="hel"), 1), StreamPart(chunk(content="lo"), 1)]
    end = [
        StreamPart(chunk("stop") + usage_chunk(), 0, USED, "stop"),
        StreamPart(b"", 0, done=True),
    ]
    ways = iter([[*steps, *end], [*steps, UpstreamFailed("reset")], [*steps, *end]])
    line = Line(FakeUpstream(lambda _: next(ways)))
    async with calling(line) as http:
        client = client_of(http.base_url)
        async with client.responses.stream(**ASK) as stream:
            heard = [event.delta async for event in stream if "text.delta" in event.type]
            final = await stream.get_final_response()
        assert heard == ["hel", "lo"]
        assert (final.output_text, final.usage.total_tokens) == ("hello", 13)
        events = [event async for event in await client.responses.create(**ASK, stream=True)]
        assert events[-1].type == "response.failed"
        assert events[-1].response.error.code == "worker_failed"
        key = {"Idempotency-Key": "k"}
        texts = [
            (
                await http.post("/v1/responses", json=ASK | {"stream": True}, headers=key | auth())
            ).text
            for _ in range(2)
        ]
        assert texts[0] == texts[1]
    whole_, broken, once = line.records
    assert whole_.charge_nano == once.charge_nano == COST_NANO
    assert broken.outcome == "truncated"


def auth() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}
