"""Anthropic's client, served with messages."""

import asyncio

import msgspec
import pytest
from aiohttp import web
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.faces.messages.wire import delta
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, snapshot
from tests.unit.router.upstream.workers import serving as serving_workers


async def test_anthropics_client_is_served() -> None:
    import anthropic

    body = {
        "model": "a/m",
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
    }
    plain = Answer(msgspec.json.encode(body), "application/json", USED, "stop")
    async with calling(Line(FakeUpstream(lambda _: plain))) as http:
        for key in ({"api_key": KEY}, {"auth_token": KEY}):
            client = anthropic.AsyncAnthropic(base_url=str(http.base_url), max_retries=0, **key)
            message = await client.messages.create(
                model="a/m", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )
            assert message.content[0].text == "hello"
        with pytest.raises(anthropic.AuthenticationError, match="API key"):
            await anthropic.AsyncAnthropic(
                base_url=str(http.base_url), api_key="x", max_retries=0
            ).messages.create(
                model="a/m", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(
                model="a/none", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )


async def test_anthropics_client_hears_that_a_stream_broke() -> None:
    import anthropic

    steps = [StreamPart(delta(content="he"), 1), UpstreamFailed("reset")]
    line = Line(FakeUpstream(lambda _: steps))
    async with calling(line) as http, asyncio.timeout(PATIENCE_S):
        client = anthropic.AsyncAnthropic(base_url=str(http.base_url), api_key=KEY, max_retries=0)
        heard: list[str] = []

        async def listen() -> None:
            async with client.messages.stream(
                model="a/m", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            ) as stream:
                async for text in stream.text_stream:
                    heard.append(text)  # noqa: PERF401 - what was heard before it broke counts

        with pytest.raises(anthropic.APIStatusError, match="worker failed"):
            await listen()
    assert heard == ["he"]


async def test_tokens_are_counted_by_anthropics_client_for_who_may_use_the_model() -> None:
    import anthropic

    line = Line(FakeUpstream(lambda _: AssertionError("nothing runs")))
    said = [{"role": "user", "content": "x" * 400}]
    tool = {"name": "add", "description": "y" * 400, "input_schema": {"type": "object"}}
    async with calling(line) as http:
        client = anthropic.AsyncAnthropic(base_url=str(http.base_url), api_key=KEY, max_retries=0)
        plain = await client.messages.count_tokens(model="a/m", messages=said)
        assert 100 <= plain.input_tokens < 120
        more = await client.messages.count_tokens(
            model="a/m:floor", messages=said, system="z" * 400, tools=[tool]
        )
        assert 300 <= more.input_tokens < 360
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.count_tokens(model="a/none", messages=said)
        assert unknown.value.body["error"]["type"] == "not_found_error"
        with pytest.raises(anthropic.UnprocessableEntityError, match="messages"):
            await client.messages.count_tokens(model="a/m", messages=[])
        with pytest.raises(anthropic.AuthenticationError):
            await client.copy(api_key="x").messages.count_tokens(model="a/m", messages=said)
    assert not line.records


async def test_an_answer_that_is_no_completion_is_its_workers_fault() -> None:
    """Another worker is tried; when there is none left nothing is billed."""

    import anthropic

    async def handle(request: web.Request) -> web.Response:
        said = {"content": "hello"} if "two-0" in request.path else {"tool_calls": "none"}
        return web.json_response({"choices": [{"message": said}], "usage": {"prompt_tokens": 9}})

    ask = {"model": "a/m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        serving_workers(handle) as url,
        HTTPClient(Limits(), AddressPolicy(EVERYWHERE)) as to_workers,
    ):
        # Of two that fail alike, a probe in between would have the request blamed.
        made = snapshot(workers=1)
        workers = tuple(
            structs.replace(worker, url=f"{url}/{worker.id}") for worker in made.workers
        )
        line = Line(
            OpenAIUpstream(to_workers, Limits()), catalog=structs.replace(made, workers=workers)
        )
        async with calling(line) as http:
            client = anthropic.AsyncAnthropic(
                base_url=str(http.base_url), api_key=KEY, max_retries=0
            )
            message = await client.messages.create(**ask)
            assert message.content[0].text == "hello"
            with pytest.raises(anthropic.InternalServerError) as failed:
                await client.messages.create(**ask, extra_body={"provider": {"only": ["north"]}})
    assert failed.value.status_code == 502
    served, unserved = line.records
    assert [attempt.outcome for attempt in served.attempts][-2:] == [
        "worker_failed:bad_json",
        "completed",
    ]
    assert (unserved.outcome, unserved.charge_nano) == ("worker_failed", 0)
    assert line.unresolved_nano == 0
