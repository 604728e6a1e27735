"""Anthropic's Messages API: what a message becomes on its way in, and an answer on its way out."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.errors import RequestInvalid, StreamBroken
from router.ingress.faces.messages.answer import MessageStream, message_of
from router.ingress.faces.messages.request import chat_body
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, snapshot
from tests.unit.router.upstream.workers import serving as serving_workers

ID = "0192-ab"


def chat(**fields: Any) -> dict[str, Any]:
    body = {"model": "a/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return json.loads(chat_body(msgspec.json.encode(body | fields)))


def events(told: bytes) -> list[dict[str, Any]]:
    found = [block.split(b"\n") for block in told.split(b"\n\n") if block]
    for name, data in found:
        assert name == b"event: " + json.loads(data[6:])["type"].encode()
    return [json.loads(data[6:]) for _, data in found]


def chunk(**fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"model": "a/m", **fields}) + b"\n\n"


def delta(finish_reason: str | None = None, **said: Any) -> bytes:
    return chunk(choices=[{"index": 0, "delta": said, "finish_reason": finish_reason}])


def test_a_plain_message_is_a_chat_call() -> None:
    made = chat(
        system="be brief",
        temperature=0.5,
        top_k=3,
        stop_sequences=["X"],
        metadata={"user_id": "u"},
        stream=True,
    )
    assert made == {
        "model": "a/m",
        "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "temperature": 0.5,
        "top_k": 3,
        "stop": ["X"],
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_text_images_tools_and_results_find_their_places() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "2"}],
    }
    png = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, call]},
        {
            "role": "user",
            "content": [
                result,
                {**result, "tool_use_id": "t2", "is_error": True, "content": "no"},
                {**result, "tool_use_id": "t3", "content": [{"type": "image", "source": png}]},
                {"type": "text", "text": "and this?"},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            ],
        },
    ]
    function = {"name": "add", "arguments": '{"a":1}'}
    assert chat(system=[{"type": "text", "text": "s"}], messages=messages)["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "text", "text": "and this?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "becomes"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
            {
                "tool_choice": {"type": "function", "function": {"name": "add"}},
                "parallel_tool_calls": False,
            },
        ),
    ],
)
def test_tools_and_the_choice_among_them_are_translated(choice: dict, becomes: dict) -> None:
    tool = {"name": "add", "description": "adds", "input_schema": {"type": "object"}}
    made = chat(tools=[tool], tool_choice=choice)
    function = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
    assert made["tools"] == [{"type": "function", "function": function}]
    assert {name: made[name] for name in becomes} == becomes


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text"),
        ({"messages": [{"role": "user", "content": [{"type": "video", "source": {}}]}]}, "video"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "web_search"),
        ({"tool_choice": {"type": "some"}}, "some"),
    ],
)
def test_what_cannot_be_translated_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestInvalid, match=says):
        chat(**fields)


def test_a_completion_is_a_message() -> None:
    import anthropic

    function = {"name": "add", "arguments": '{"a": 1}'}
    said = {
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "t1", "type": "function", "function": function}],
    }
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 5},
        "cost": 0.25,
    }
    body = {
        "model": "a/m",
        "choices": [{"message": said, "finish_reason": "tool_calls"}],
        "usage": usage,
    }
    message = anthropic.types.Message.model_validate_json(
        message_of(msgspec.json.encode(body), ID), strict=True
    )
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert (message.id, message.stop_reason) == ("msg_0192ab", "tool_use")
    assert message.usage.input_tokens == 4
    assert message.usage.cache_read_input_tokens == 5
    assert message.usage.output_tokens == 4
    assert message.usage.model_extra == {"cost": 0.25}


@pytest.mark.parametrize(
    ("choice", "reason", "sequence"),
    [
        ({"finish_reason": "stop"}, "end_turn", None),
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"finish_reason": "stop", "stop_reason": "X"}, "stop_sequence", "X"),
        ({"finish_reason": "content_filter"}, "refusal", None),
    ],
)
def test_why_it_ended_is_told_in_anthropics_words(
    choice: dict[str, Any], reason: str, sequence: str | None
) -> None:
    body = msgspec.json.encode({"choices": [{"message": {"content": "x"}, **choice}]})
    message = json.loads(message_of(body, ID))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


CHUNKS = [
    delta(role="assistant", content=""),
    delta(reasoning_content="hm"),
    delta(content="he"),
    delta(content="llo"),
    delta(tool_calls=[{"index": 0, "id": "t1", "function": {"name": "add", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    delta(tool_calls=[{"index": 1, "id": "t2", "function": {"name": "sub", "arguments": "{}"}}]),
    delta("tool_calls"),
    chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 7, "cost": 0.5}),
]


@given(st.sets(st.integers(1, len(CHUNKS) - 1)))
def test_a_stream_is_the_same_however_it_comes(cuts: set[int]) -> None:
    stream, received, start = MessageStream(ID), b"", 0
    for cut in [*sorted(cuts), len(CHUNKS)]:
        received += stream.feed(b"".join(CHUNKS[start:cut]))
        start = cut
    found = events(received + stream.end())
    assert [event["type"] for event in found] == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta"),
        "content_block_stop",
        *("content_block_start", "content_block_delta", "content_block_delta"),
        "content_block_stop",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    starts = [event for event in found if event["type"] == "content_block_start"]
    assert [event["index"] for event in starts] == [0, 1, 2, 3]
    assert [event["content_block"]["type"] for event in starts] == [
        *("thinking", "text"),
        *("tool_use", "tool_use"),
    ]
    end = found[-2]
    assert end["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (3, 7)
    assert end["usage"]["cost"] == 0.5
    assert "cost" not in found[0]["message"]["usage"]


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    stream = MessageStream(ID)
    stream.feed(delta(content="he"))
    (error,) = events(stream.end(StreamBroken("it failed")))
    assert error == {"type": "error", "error": {"type": "api_error", "message": "it failed"}}


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


def piece(index: int | None, id_: str | None, name: str | None, arguments: str) -> dict:
    made: dict = {"function": {"name": name, "arguments": arguments}}
    return made | ({} if index is None else {"index": index}) | ({} if id_ is None else {"id": id_})


TWO_CALLS = {
    "one after the other": [
        [piece(0, "t1", "add", '{"a"')],
        [piece(0, None, None, ": 1}")],
        [piece(1, "t2", "sub", "{}")],
    ],
    "mixed": [
        [piece(0, "t1", "add", "")],
        [piece(1, "t2", "sub", "")],
        [piece(0, None, None, '{"a": ')],
        [piece(1, None, None, "{")],
        [piece(0, None, None, "1}"), piece(1, None, None, "}")],
    ],
    "all of index 0": [
        [piece(0, "t1", "add", '{"a": 1}')],
        [piece(0, "t2", "sub", "{}")],
    ],
    "no index": [
        [
            piece(None, "t1", "add", '{"a": '),
        ],
        [piece(None, None, None, "1}")],
        [piece(None, "t2", "sub", "{}")],
    ],
    "neither index nor id": [
        [piece(None, None, "add", '{"a": 1}')],
        [piece(None, None, "sub", "{}")],
    ],
    "the same function twice, without an id": [
        [piece(0, None, "add", '{"a": 1}')],
        [piece(0, None, "add", "{}")],
    ],
    "in one chunk": [[piece(None, "t1", "add", '{"a": 1}'), piece(None, "t2", "sub", "{}")]],
}


@pytest.mark.parametrize("chunks", TWO_CALLS.values(), ids=TWO_CALLS)
def test_calls_of_several_tools_are_told_apart_and_one_after_the_other(chunks: list) -> None:
    stream = MessageStream("r")
    received = b"".join(stream.feed(delta(tool_calls=calls)) for calls in chunks)
    received += stream.feed(delta("stop")) + stream.end()
    blocks: list[list] = []
    is_open = False
    for event in events(received):
        if event["type"] == "content_block_start":
            assert not is_open
            is_open = True
            block = event["content_block"]
            blocks.append([block["name"], block["id"], ""])
        elif event["type"] == "content_block_delta":
            assert is_open
            assert event["index"] == len(blocks) - 1
            blocks[-1][2] += event["delta"]["partial_json"]
        elif event["type"] == "content_block_stop":
            is_open = False
        elif event["type"] == "message_delta":
            assert event["delta"]["stop_reason"] == "tool_use"
    assert [json.loads(arguments) for _, _, arguments in blocks] == [{"a": 1}, {}]
    assert blocks[0][0] == "add"
    assert len({id_ for _, id_, _ in blocks}) == 2


def test_what_a_model_thought_is_kept_under_either_name() -> None:
    for name in ("reasoning_content", "reasoning"):
        stream = MessageStream("r")
        received = events(stream.feed(delta(**{name: "hm"}) + delta(content="so")))
        deltas = [e["delta"] for e in received if e["type"] == "content_block_delta"]
        assert [item.get("thinking") or item["text"] for item in deltas] == ["hm", "so"]
        whole = {"choices": [{"message": {name: "hm", "content": "so"}}]}
        content = json.loads(message_of(json.dumps(whole).encode(), "r"))["content"]
        assert [item["type"] for item in content] == ["thinking", "text"]


def test_a_whole_message_that_calls_a_tool_stops_for_that() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    said = {"content": None, "tool_calls": [call]}
    whole = {"choices": [{"message": said, "finish_reason": "stop"}]}
    assert json.loads(message_of(json.dumps(whole).encode(), "r"))["stop_reason"] == "tool_use"


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
