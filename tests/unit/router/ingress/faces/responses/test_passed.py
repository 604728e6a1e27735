"""Responses of workers that speak them: passed through, by the router's ids, bills and store."""

import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.domain.pricing import Price
from router.ingress.faces.responses.answer import ResponseStream
from router.ingress.faces.responses.request import Request
from router.ingress.faces.responses.resource import Resource
from tests.unit.router.ingress.faces.one_model import AUTH, NAME, Served, served
from tests.unit.router.ingress.faces.responses.speaking import (
    SEARCH,
    THOUGHT,
    USAGE,
    Speaker,
    event,
    message,
)
from tests.unit.router.pipeline.line import until

PRICE = Price(
    1,
    prompt_nano_per_million=10**9,
    cached_nano_per_million=10**8,
    completion_nano_per_million=2 * 10**9,
    reasoning_nano_per_million=3 * 10**9,
)
CHARGED = 4 * 1_000 + 5 * 100 + 2 * 2_000 + 2 * 3_000
SPEAKS = ("responses",)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def speaking(speaker: Speaker, **how: Any) -> Any:
    return served("chat", speaker, PRICE, **{"parameters": SPEAKS, **how})


async def events_of(router: Served, **fields: Any) -> list[Any]:
    """The events of a stream, numbered, each as OpenAI's client reads it."""
    body = {"model": NAME, "input": "hi", "stream": True, **fields}
    text = (await router.post("/v1/responses", json=body)).content
    assert text.endswith(b"data: [DONE]\n\n")
    found = []
    for block in text.split(b"\n\n")[:-2]:
        name, data = block.split(b"\n")
        known = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + known["type"].encode()
        assert known["sequence_number"] == len(found)
        found.append(EVENT.validate_json(data.removeprefix(b"data: ")))
    return found


async def test_an_answer_is_passed_on_and_charged_by_its_usage() -> None:
    speaker = Speaker(THOUGHT, SEARCH)
    async with speaking(speaker) as router:
        raw = await router.openai.responses.with_raw_response.create(
            model=NAME,
            input=[{"role": "user", "content": "hi"}],
            tools=[{"type": "web_search"}],
            include=["reasoning.encrypted_content"],
            metadata={"a": "b"},
            max_output_tokens=50,
            extra_body={"provider": {"sort": "price"}, "session_id": "s"},
            extra_headers={"X-Route-Explain": "1"},
        )
        response = Response.model_validate_json(raw.content)
    assert speaker.heard == [
        {
            "model": "upstream-name",
            "input": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "web_search"}],
            "include": ["reasoning.encrypted_content"],
            "max_output_tokens": 50,
            "store": False,
        }
    ]
    key = raw.headers["x-request-id"].replace("-", "")
    assert (response.id, response.model) == (f"resp_{key}", NAME)
    assert (response.metadata, response.temperature) == ({"a": "b"}, 0.7)
    assert json.loads(raw.content)["store"] is True
    assert [item.id for item in response.output] == [f"rs_{key}_0", f"ws_{key}_1", f"msg_{key}_2"]
    assert response.output_text == "hello"
    assert response.usage.total_tokens == USAGE["total_tokens"]
    assert response.usage.input_tokens_details.model_dump() == {
        "cached_tokens": 5,
        "cache_write_tokens": 0,
    }
    assert response.usage.model_extra == {"cost": CHARGED / 1e9}
    assert raw.headers["x-cost-nano-usd"] == str(CHARGED)
    assert response.model_extra["route"]["cost_nano_usd"] == CHARGED
    (record,) = router.line.records
    assert (record.kind, record.charge_nano, record.finish_reason) == ("chat", CHARGED, "stop")


async def test_events_are_passed_on_in_their_order() -> None:
    speaker = Speaker(THOUGHT, SEARCH)
    async with speaking(speaker) as router:
        events = await events_of(router, tools=[{"type": "web_search"}])
        (record,) = router.line.records
    added, done = "response.output_item.added", "response.output_item.done"
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress"),
        *(added, done, added, done, added, "response.content_part.added"),
        *["response.output_text.delta"] * 5,
        *("response.output_text.done", "response.content_part.done", done, "response.completed"),
    ]
    end = events[-1].response
    assert [item.id for item in end.output] == [e.item.id for e in events if e.type == done]
    assert {e.item_id for e in events if "output_text" in e.type} == {end.output[2].id}
    assert events[0].response.id == end.id
    assert events[0].response.model == end.model == NAME
    assert (end.output_text, end.usage.model_extra) == ("hello", {"cost": CHARGED / 1e9})
    assert end.output[0].encrypted_content != "c.ipher"
    assert (record.charge_nano, record.reasoning_tokens) == (CHARGED, 2)


async def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    async with speaking(Speaker(status="incomplete")) as router:
        response = await router.openai.responses.create(model=NAME, input="hi")
        assert response.incomplete_details.reason == "max_output_tokens"
        events = await events_of(router)
        assert events[-1].type == "response.incomplete"
    assert [record.finish_reason for record in router.line.records] == ["length"] * 2


async def test_a_stream_without_usage_is_whole_and_charged_by_what_was_seen() -> None:
    async with speaking(Speaker(usage=None)) as router:
        events = await events_of(router)
        assert events[-1].response.output_text == "hello"
        (record,) = router.line.records
        assert record.outcome == "completed"
        assert record.charge_nano > 0


async def test_a_kept_turn_is_gone_on_from_in_full() -> None:
    speaker = Speaker(THOUGHT, SEARCH)
    async with speaking(speaker) as router:
        client = router.openai
        first = await client.responses.create(model=NAME, input="hi")
        async with client.responses.stream(
            model=NAME, input="and?", previous_response_id=first.id
        ) as stream:
            second = await stream.get_final_response()
        assert second.previous_response_id == first.id
        kept = await client.responses.retrieve(second.id)
        assert [item.id for item in kept.output] == [item.id for item in second.output]
        assert kept.output_text == "hello"
        reference: Any = {"type": "item_reference", "id": first.output[1].id}
        await client.responses.create(model=NAME, input=[reference], store=False)
    asked, *output, more = speaker.heard[1]["input"]
    assert "previous_response_id" not in speaker.heard[1]
    assert asked["content"] == [{"type": "input_text", "text": "hi"}]
    assert more == {"role": "user", "content": "and?"}
    assert [item["type"] for item in output] == ["reasoning", "web_search_call", "message"]
    # What its worker encrypted comes back to it as it was, under the id that it gave.
    assert output[0] == THOUGHT
    assert [item["type"] for item in speaker.heard[2]["input"]] == ["web_search_call"]


async def test_where_no_worker_speaks_responses_what_a_chat_cannot_say_is_refused() -> None:
    speaker = Speaker()
    async with speaking(speaker, parameters=()) as router:
        with pytest.raises(openai.UnprocessableEntityError, match="web_search") as refused:
            await router.openai.responses.create(
                model=NAME, input="hi", tools=[{"type": "web_search"}]
            )
        assert refused.value.param == "tools"
        assert not speaker.chats
        response = await router.openai.responses.create(model=NAME, input="hi")
        assert response.output_text == "as a chat"
    assert (len(speaker.heard), len(speaker.chats)) == (0, 1)


@pytest.mark.parametrize("status", [404, 405])
async def test_a_worker_that_does_not_speak_after_all_is_sent_chats(status: int) -> None:
    speaker = Speaker(refuses=(status,))
    async with speaking(speaker) as router:
        events = await events_of(router)
        response = await router.openai.responses.create(model=NAME, input="hi")
        assert events[-1].response.output_text == response.output_text == "as a chat"
        assert [len(record.attempts) for record in router.line.records] == [1, 1]
        with pytest.raises(openai.InternalServerError):
            await router.openai.responses.create(
                model=NAME, input="hi", tools=[{"type": "web_search"}]
            )
    assert (len(speaker.heard), len(speaker.chats)) == (1, 2)


async def test_a_refusal_is_the_workers_and_costs_nothing() -> None:
    async with speaking(Speaker(refuses=(400,))) as router:
        with pytest.raises(openai.BadRequestError, match="no"):
            await router.openai.responses.create(model=NAME, input="hi")
        assert router.line.records[0].charge_nano == 0


@pytest.mark.parametrize("breaks", [0, 2])
async def test_a_worker_that_fails_before_it_said_anything_is_an_error(breaks: int) -> None:
    async with speaking(Speaker(breaks=(breaks,))) as router:
        with pytest.raises(openai.InternalServerError):
            await router.openai.responses.create(model=NAME, input="hi", stream=True)
        assert router.line.records[0].charge_nano == 0


async def test_a_stream_that_breaks_ends_as_failed_with_what_was_whole() -> None:
    async with speaking(Speaker(SEARCH, breaks=(6,))) as router:
        stream = await router.openai.responses.create(model=NAME, input="hi", stream=True)
        *_, last = [event async for event in stream]
        assert last.type == "response.failed"
        assert last.response.error.code == "worker_failed"
        assert [item.type for item in last.response.output] == ["web_search_call"]
        with pytest.raises(openai.NotFoundError):
            await router.openai.responses.retrieve(last.response.id)
    assert router.line.records[0].outcome == "truncated"


async def test_a_client_that_leaves_ends_the_workers_work() -> None:
    speaker = Speaker(hangs=5)
    async with speaking(speaker) as router:
        body = {"model": NAME, "input": "hi", "stream": True}
        url = "/v1/responses"
        async with router.client.stream("POST", url, json=body, headers=AUTH) as answer:
            async for _ in answer.aiter_bytes():
                break
        await until(lambda: bool(router.line.records))
        assert router.line.records[0].outcome == "client_gone"
        assert router.line.unresolved_nano == 0


@pytest.mark.parametrize("how", [{"refuses": (500,)}, {"breaks": (2,)}])
async def test_another_worker_is_tried_before_the_first_word(how: dict[str, Any]) -> None:
    speaker = Speaker(**how)
    async with speaking(speaker, workers=2) as router:
        events = await events_of(router)
        assert events[-1].response.output_text == "hello"
        (record,) = router.line.records
        assert (record.outcome, len(record.attempts)) == ("completed", 2)


async def test_a_model_that_is_fallen_back_to_tells_its_own_name() -> None:
    async with speaking(Speaker()) as router:
        events = await events_of(router, model="a/m", models=["a/m", NAME])
    assert events[0].response.model == events[-1].response.model == NAME


async def test_what_some_workers_leave_out_is_added() -> None:
    resource = Resource("k", NAME, 0, Request())
    stream = ResponseStream(resource)
    said, part = message("hi"), {"type": "output_text", "text": ""}
    fed = [
        event("response.output_item.added", item=said),
        event("response.content_part.added", item_id=said["id"], part=part),
        event("response.output_text.delta", item_id=said["id"], delta="hi"),
        event("response.output_item.done", item=said),
        event("response.completed", response={"output": [], "usage": {"input_tokens": 1}}),
    ]
    text = b"".join(map(stream.feed, fed)) + stream.end()
    events = [
        EVENT.validate_json(block.partition(b"data: ")[2]) for block in text.split(b"\n\n")[:-2]
    ]
    delta, last = events[4], events[-1].response
    assert (events[3].part.annotations, events[3].part.logprobs) == ([], [])
    assert (delta.item_id, delta.output_index, delta.content_index) == ("msg_k_0", 0, 0)
    assert (last.output_text, last.status) == ("hi", "completed")
    assert (last.usage.input_tokens, last.usage.output_tokens) == (1, 0)
