"""OpenAI's Responses API: what a request becomes on its way in, and an answer on its way out."""

import json
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.domain.errors import RequestInvalid, StreamBroken
from router.ingress.faces.chat import SHAPE
from router.ingress.faces.face import Arrival
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.answer import ResponseStream, response_of
from router.ingress.faces.responses.request import read_request
from router.ingress.faces.responses.resource import Resource
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import COST_NANO, KEY, USED, FakeUpstream, Line

ASK: dict[str, Any] = {"model": "a/m", "input": "hi"}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "cost": 0.25,
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chat(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(read_request(msgspec.json.encode(ASK | fields)).chat)
    return made


def resource(**fields: Any) -> Resource:
    read = read_request(msgspec.json.encode(ASK | fields))
    call = parse_call(SHAPE, read.chat, Arrival("0192-ab", 0.0, 5_000))
    return Resource("0192ab", call.model, 5, read.asked)


def whole(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Response:
    body = {
        "model": "a/m",
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": USAGE,
    }
    made = response_of(msgspec.json.encode(body), resource(**fields))
    return Response.model_validate_json(made, strict=True)


def chunk(finish: str | None = None, **said: Any) -> bytes:
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"model": "a/m", "choices": [choice]}) + b"\n\n"


def usage_chunk() -> bytes:
    body = {"model": "a/m", "choices": [], "usage": USAGE}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def piece(index: int, id_: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}


def told(chunks: Iterable[bytes], **fields: Any) -> list[Any]:
    """The events of a stream, as OpenAI's client reads them."""
    stream = ResponseStream(resource(**fields))
    text = b"".join(stream.feed(data) for data in chunks) + stream.end()
    assert text.endswith(b"data: [DONE]\n\n")
    found = []
    for block in text.split(b"\n\n")[:-2]:
        name, data = block.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == len(found)
        found.append(EVENT.validate_json(data.removeprefix(b"data: "), strict=True))
    return found


def test_a_text_is_a_chat_call() -> None:
    made = chat(
        instructions="be brief",
        temperature=0.5,
        top_k=3,
        max_output_tokens=9,
        metadata={"a": "b"},
        include=["reasoning.encrypted_content"],
        truncation="disabled",
        store=False,
        reasoning={"effort": "low", "summary": "auto"},
        stream=True,
        provider={"sort": "price"},
    )
    assert made == {
        "model": "a/m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "top_k": 3,
        "max_tokens": 9,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "provider": {"sort": "price"},
    }


def test_items_find_their_places_in_a_chat() -> None:
    image = {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"}
    items = [
        {"role": "developer", "content": "use tools"},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, image]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": []},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "let me see", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "see"}, image],
        },
        {"role": "user", "content": "and now?"},
    ]
    function = {"name": "weather", "arguments": "{}"}
    shown = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
    assert chat(instructions="be brief", input=items)["messages"] == [
        {"role": "system", "content": "be brief\n\nuse tools"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, shown]},
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": function},
                {"id": "c2", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "see"},
        {"role": "user", "content": [shown]},
        {"role": "user", "content": "and now?"},
    ]


def test_tools_choices_and_formats_are_translated() -> None:
    function = {"name": "weather", "parameters": WEATHER, "strict": True}
    other = {"type": "function", "name": "other"}
    made = chat(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    assert made["tools"] == [{"type": "function", "function": function}]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat(tools=[TOOL], tool_choice="required")["tool_choice"] == "required"
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [other]}
    made = chat(tools=[TOOL, other], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["other"]
    assert made["tool_choice"] == "required"
    wanted = {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}
    schema = {"name": "w", "schema": WEATHER, "strict": True}
    made = chat(text={"format": wanted, "verbosity": "low"})
    assert made["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert made["verbosity"] == "low"
    assert "response_format" not in chat(text={"format": {"type": "text"}})
    assert chat(top_logprobs=2)["top_logprobs"] == 2
    assert chat(include=["message.output_text.logprobs"])["logprobs"] is True


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "input", "input is missing"),
    ({"input": []}, "input", "input is missing"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input", "robot"),
    ({"input": [{"role": "user"}]}, "input", r"input\[0\].content is missing"),
    ({"input": [{"type": "function_call", "name": "x"}]}, "input", "call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "x"}]}, "input", "output"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input", "msg_1"),
    ({"tools": [{"type": "function"}]}, "tools", "name"),
    ({"tools": [{"type": "function", "name": "x", "parameters": "{"}]}, "tools", "parameters"),
    ({"tool_choice": "some"}, "tool_choice", "some"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text", "schema"),
    ({"max_output_tokens": 0}, "max_output_tokens", "at least 1"),
    ({"conversation": "conv_1"}, "conversation", "not kept"),
    ({"truncation": "some"}, "truncation", "auto or disabled"),
]
UNSAID: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [{"type": "web_search_call"}]}, "input", "web_search_call"),
    ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input", "video"),
    ({"tools": [{"type": "web_search"}]}, "tools", "web_search"),
    ({"tool_choice": {"type": "mcp"}}, "tool_choice", "mcp"),
    ({"text": {"format": {"type": "xml"}}}, "text", "xml"),
    (
        {"input": [{"type": "computer_call_output", "call_id": "c", "output": {"type": "x"}}]},
        "input",
        "computer_call_output",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input",
        "input_image",
    ),
]


@pytest.mark.parametrize(("fields", "param", "says"), BAD)
def test_what_cannot_be_translated_is_named(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(RequestInvalid, match=says) as refused:
        chat(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(("fields", "param", "says"), UNSAID)
def test_what_no_chat_can_say_is_named_and_stays_in_the_response(
    fields: dict[str, Any], param: str, says: str
) -> None:
    read = read_request(msgspec.json.encode(ASK | fields))
    assert says in read.as_response.unsaid
    assert read.as_response.param == param
    assert {name: msgspec.json.decode(read.as_response.fields[name]) for name in fields} == fields
    parse_call(SHAPE, read.chat, Arrival("r", 0.0, 0))


def shortened_to(tokens: int, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    body = msgspec.json.encode(
        ASK | {"input": items, "instructions": "s", "truncation": "auto", "max_output_tokens": 100}
    )
    asked_of: list[str] = []
    read = read_request(body, context_of=lambda model: asked_of.append(model) or 100 + tokens)
    assert asked_of == ["a/m"]
    return list(json.loads(read.chat)["messages"])


def test_a_conversation_is_shortened_from_its_beginning() -> None:
    items = [
        {"role": "user", "content": "x" * 400},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '"' + "y" * 400 + '"'},
        {"type": "function_call_output", "call_id": "c1", "output": "z"},
        {"role": "user", "content": "w" * 400},
    ]
    assert [message["role"] for message in shortened_to(1_000, items)] == [
        *("system", "user", "assistant", "tool", "user")
    ]
    assert [message["role"] for message in shortened_to(290, items)] == [
        *("system", "assistant", "tool", "user")
    ]
    # A result goes with its call, though it would fit.
    assert [message["role"] for message in shortened_to(150, items)] == ["system", "user"]
    assert [message["role"] for message in shortened_to(1, items)] == ["system", "user"]
    assert chat(truncation="auto")["messages"] == [{"role": "user", "content": "hi"}]


def test_instructions_after_a_message_of_parts_are_one_of_their_own() -> None:
    image = {"type": "input_image", "image_url": "https://x/y.png"}
    items = [{"role": "system", "content": said} for said in ([image], "a", "b")]
    assert [message["content"] for message in chat(input=items)["messages"]] == [
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        "a\n\nb",
    ]


@pytest.mark.parametrize(
    ("items", "times"),
    [
        ([{"role": "user", "content": "x"}, {"role": "system", "content": "x"}], 500),
        ([{"role": "system", "content": "x" * 20}], 4_000),
        ([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}], 4_000),
    ],
)
def test_no_number_of_items_makes_a_request_slow(items: list[dict[str, Any]], times: int) -> None:
    """Sixteen times the items take about sixteen times as long, not two hundred and fifty-six."""
    once = min(_seconds(items * times) for _ in range(5))
    assert _seconds(items * times * 16) < once * 16 * 4


def _seconds(items: list[dict[str, Any]]) -> float:
    body = msgspec.json.encode(ASK | {"input": items, "truncation": "auto"})
    begun = time.process_time()
    read_request(body, context_of=lambda _: 100)
    return time.process_time() - begun


def test_a_completion_is_a_response() -> None:
    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    said = {
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    response = whole(said, "tool_calls", tools=[TOOL], metadata={"a": "b"}, instructions="be brief")
    assert (response.id, response.status, response.object) == (
        "resp_0192ab",
        "completed",
        "response",
    )
    thought, message, called = response.output
    assert thought.content[0].text == "hm"
    assert response.output_text == message.content[0].text == "hello"
    assert (called.call_id, called.name, called.arguments) == (
        *("c1", "weather"),
        '{"city": "Rome"}',
    )
    assert len({item.id for item in response.output}) == 3
    assert response.usage.input_tokens == 9
    assert response.usage.input_tokens_details.cached_tokens == 5
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert response.usage.total_tokens == 13
    assert response.usage.model_extra == {"cost": 0.25}
    assert response.tools[0].name == "weather"
    assert (response.metadata, response.instructions) == ({"a": "b"}, "be brief")
    assert response.created_at == 5


@pytest.mark.parametrize(
    ("finish", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_off_is_incomplete(finish: str, why: str) -> None:
    response = whole({"content": "he"}, finish)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", why)
    assert response.output[0].status == "incomplete"
    end = told([chunk(content="he"), chunk(finish)])[-1]
    assert end.type == "response.incomplete"
    assert end.response.incomplete_details.reason == why


def test_a_refusal_and_probabilities_are_told() -> None:
    response = whole({"content": None, "refusal": "no"})
    assert response.output[0].content[0].refusal == "no"
    assert "response.refusal.done" in [event.type for event in told([chunk(refusal="no")])]
    probable = {"token": "hi", "bytes": [104, 105], "logprob": -0.1, "top_logprobs": []}
    body = {"choices": [{"message": {"content": "hi"}, "logprobs": {"content": [probable]}}]}
    made = json.loads(response_of(msgspec.json.encode(body), resource()))
    assert made["output"][0]["content"][0]["logprobs"] == [probable]


def test_a_stream_tells_every_event_in_its_order() -> None:
    events = told(
        [
            chunk(role="assistant", content=""),
            chunk(reasoning_content="h") + chunk(reasoning_content="m"),
            chunk(content="hel"),
            chunk(content="lo"),
            chunk(tool_calls=[piece(0, "c1", "weather", "")]),
            chunk(tool_calls=[piece(0, None, None, "{}")]),
            chunk("tool_calls"),
            usage_chunk(),
        ]
    )
    part = ("response.content_part.added", "response.content_part.done")
    item = ("response.output_item.added", "response.output_item.done")
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress"),
        *(item[0], part[0]),
        *["response.reasoning_text.delta"] * 2,
        *("response.reasoning_text.done", part[1], item[1]),
        *(item[0], part[0]),
        *["response.output_text.delta"] * 2,
        *("response.output_text.done", part[1], item[1]),
        item[0],
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        item[1],
        "response.completed",
    ]
    end = events[-1].response
    assert [item.type for item in end.output] == ["reasoning", "message", "function_call"]
    assert end.output_text == "hello"
    assert end.usage.total_tokens == 13


SAID = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(min_size=1, max_size=3)),
    st.builds(lambda text: {"reasoning": text}, st.text(min_size=1, max_size=3)),
    st.builds(lambda text: {"refusal": text}, st.text(min_size=1, max_size=3)),
    st.builds(
        lambda index, text: {"tool_calls": [piece(index, f"c{index}", "f", text)]},
        st.integers(0, 2),
        st.sampled_from(["{", "}", '"a":1', ""]),
    ),
)


@given(st.lists(SAID, max_size=12), st.sampled_from(["stop", "length", "tool_calls"]))
def test_whatever_a_worker_says_its_events_make_up_the_response(
    said: list[dict[str, Any]], finish: str
) -> None:
    events = told([*(chunk(**fields) for fields in said), chunk(finish), usage_chunk()])
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    added = [event.item for event in events if event.type == "response.output_item.added"]
    end = events[-1].response
    assert done == end.output
    assert [item.id for item in added] == [item.id for item in done]
    heard: dict[str, str] = {item.id: "" for item in added}
    now = ""
    for event in events[2:-1]:
        if event.type == "response.output_item.added":
            assert not now
            now = event.item.id
        elif event.type == "response.output_item.done":
            assert event.item.id == now
            now = ""
        else:
            assert event.item_id == now
            if event.type.endswith(".delta"):
                heard[now] += event.delta
    for item in end.output:
        part = item.content[0] if item.type != "function_call" else None
        text = item.arguments if part is None else getattr(part, "text", None) or part.refusal
        assert heard[item.id] == text


def test_a_stream_that_breaks_ends_as_failed() -> None:
    stream = ResponseStream(resource())
    text = stream.feed(chunk(content="he")) + stream.end(StreamBroken("it failed"))
    last = json.loads(text.split(b"\n\n")[-2].split(b"data: ")[1])
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "worker_failed", "message": "it failed"}
    assert last["response"]["output"][0]["content"][0]["text"] == "he"
    assert not text.endswith(b"[DONE]\n\n")
    silent = ResponseStream(resource()).end(StreamBroken("it failed"))
    assert silent.startswith(b"event: error\n")


def client_of(base: object, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)


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
