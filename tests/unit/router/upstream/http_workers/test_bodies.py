"""What a worker is sent of a call, and how its answer is counted."""

import msgspec
import pytest
from aiohttp import web
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.pricing import Usage
from router.domain.request import Kind
from router.upstream.http import HTTPClient
from router.upstream.openai_http import LENGTHS, OpenAIUpstream
from tests.unit.router.upstream.workers import LIMITS, answer, call, endpoint, replying, serving

TOOLS = [{"type": "function", "function": {"name": "add", "of_its_own": 1}, "more": [1]}]


async def test_what_a_worker_is_sent_is_the_clients_body_and_nothing_of_the_client() -> None:
    seen: dict[str, object] = {}

    async def handle(request: web.Request) -> web.Response:
        seen.update(await request.json(), headers={name.lower() for name in request.headers})
        return web.json_response({"model": "up", "choices": [{}], "usage": {"prompt_tokens": 3}})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        request = call(temperature=0.5, tools=TOOLS, provider={"only": ["n"]}, models=["b"])
        upstream = OpenAIUpstream(client, LIMITS)
        found = await upstream.answer(request, endpoint(url, upstream_model="up"))
    assert (seen["model"], seen["temperature"], seen["tools"]) == ("up", 0.5, TOOLS)
    assert not {"provider", "models"} & set(seen)
    assert seen["headers"] == {"host", "content-type", "content-length"}
    assert msgspec.json.decode(found.body)["model"] == "a/m"
    assert found.usage == Usage(prompt_tokens=3)


@pytest.mark.parametrize("given", ["text", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
async def test_embeddings_reach_the_worker_as_they_were_asked_for(given: object) -> None:
    seen: dict[str, object] = {}

    async def handle(request: web.Request) -> web.Response:
        seen.update(await request.json())
        return web.json_response({"data": [], "usage": {"prompt_tokens": 3}})

    wanted = {"input": given, "dimensions": 64, "encoding_format": "base64"}
    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OpenAIUpstream(client, LIMITS)
        await upstream.answer(call(Kind.EMBEDDING, **wanted), endpoint(url))
    assert {name: seen[name] for name in wanted} == wanted


async def test_every_name_for_the_length_of_an_answer_has_the_bound_that_was_held_for() -> None:
    seen: list[dict[str, object]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.json_response({"choices": [{}]})

    async with serving(handle) as url, HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client:
        upstream = OpenAIUpstream(client, LIMITS)
        for asked in ({}, {"max_completion_tokens": 2, "max_tokens": 10**6, "n_predict": 10**6}):
            request = structs.replace(call(**asked), bound=Usage(completion_tokens=2))
            await upstream.answer(request, endpoint(url))
    lengths = [{name: event[name] for name in LENGTHS & event.keys()} for event in seen]
    assert lengths == [{"max_tokens": 2}, dict.fromkeys(LENGTHS, 2)]


async def test_an_answer_without_usage_is_counted() -> None:
    body = msgspec.json.encode({"choices": [{"message": {"content": "12345678"}}]})
    async with serving(replying(200, body)) as url:
        found = await answer(url)
    assert found.usage is not None
    assert found.usage.completion_tokens == 2
