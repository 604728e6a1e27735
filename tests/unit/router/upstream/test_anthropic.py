"""Chats by an endpoint that speaks Anthropic's messages, as a real server."""

import msgspec
import pytest
from aiohttp import web

from router.contracts.sealing import ENDPOINT_KEYS, Vault
from router.domain.addresses import AddressPolicy
from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price, Usage
from router.domain.protocols import OWN_ANTHROPIC
from router.ingress.faces.messages.answer import MessageStream, message_of
from router.ports.upstream import StreamPart, UpstreamFailed, UpstreamRefused
from router.upstream.anthropic_http import AnthropicUpstream
from router.upstream.http import HTTPClient
from router.upstream.messages_answer import MessageEvents, completion_of_message
from router.upstream.messages_request import MAX_TOKENS, messages_body
from router.upstream.own import EndpointKeys
from tests.unit.router.upstream.test_own import KEY, LIMITS, SEALED_BY, chat, sealed
from tests.unit.router.upstream.workers import serving

TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
}
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
PIXEL = "data:image/png;base64,AAAA"
EVENTS = (
    (
        "message_start",
        {
            "message": {
                "id": "msg_1",
                "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1},
            }
        },
    ),
    ("ping", {}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
    ("content_block_stop", {"index": 0}),
    (
        "content_block_start",
        {"index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": "look"}},
    ),
    (
        "content_block_delta",
        {"index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"at":1}'}},
    ),
    ("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
    ("message_stop", {}),
)


def endpoint(url: str = "https://x") -> Endpoint:
    worker = Worker("~1", "~1", url, OWN_ANTHROPIC, 4, sealed_key=sealed(KEY))
    deployment = Deployment(-1, "~acme/m", "own", 0, "~1", "claude", Price(0))
    return Endpoint("-1@~1", deployment, worker, Pool("~1", ""))


def told(*events: tuple[str, dict[str, object]]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **fields}))
        for name, fields in events
    )


def body_of(**fields: object) -> dict[str, object]:
    made: dict[str, object] = msgspec.json.decode(messages_body(chat(**fields), endpoint()))
    return made


def test_a_conversation_with_tools_and_images_is_told_in_their_words() -> None:
    made = body_of(
        messages=[
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "t1", "content": "seen"},
            {"role": "user", "content": "So?"},
        ],
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        stop="END",
        user="u",
        temperature=0.5,
        max_completion_tokens=5,
    )
    assert made == {
        "model": "claude",
        "max_tokens": MAX_TOKENS,
        "system": "Be short.",
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "seen"},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"at":1}', {"at": 1}),
        (' {"at":1} ', {"at": 1}),
        ('{"at":', {}),
        ("[1]", {}),
        ("", {}),
        ('{}}]}],"model":"claude-opus-x","max_tokens":99999,"z":[{"y":[{"w":{}', {}),
    ],
)
def test_a_tool_is_told_an_object_and_nothing_beside_it(arguments: str, told: object) -> None:
    call = {"id": "t1", "function": {"name": "look", "arguments": arguments}}
    made = body_of(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert (made["model"], made["max_tokens"]) == ("claude", MAX_TOKENS)
    block = {"type": "tool_use", "id": "t1", "name": "look", "input": told}
    assert made["messages"] == [{"role": "assistant", "content": [block]}]


def test_what_has_no_equivalent_is_refused() -> None:
    audio = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
    for fields in ({"messages": audio}, {"n": 2}):
        with pytest.raises(UpstreamRefused):
            body_of(**fields)


async def test_a_message_becomes_a_completion() -> None:
    heard: dict[str, str] = {}

    async def handle(request: web.Request) -> web.Response:
        heard.update({"path": request.path, **request.headers})
        answer = {
            "id": "msg_1",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 9},
        }
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    keys = EndpointKeys(Vault([SEALED_BY], ENDPOINT_KEYS))
    async with (
        serving(handle) as url,
        HTTPClient(LIMITS, AddressPolicy(("127.0.0.0/8",))) as client,
    ):
        made = await AnthropicUpstream(client, LIMITS, keys.anthropic).answer(chat(), endpoint(url))
    assert heard["path"] == "/v1/messages"
    assert heard["x-api-key"] == KEY
    assert heard["anthropic-version"]
    completion = msgspec.json.decode(made.body)
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == made.finish_reason == "tool_calls"
    assert choice["message"]["content"] == "Hi"
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [CALL]
    assert made.usage == Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=9)
    assert completion["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_become_chunks_however_they_are_cut(size: int, line: bytes) -> None:
    events = MessageEvents(model="~acme/m", keep_usage=True, event_bytes_max=10_000, created_s=1)
    data = told(*EVENTS).replace(b"\n", line)
    parts: list[StreamPart] = []
    for start in range(0, len(data), size):
        part = events.feed(data[start : start + size])
        parts += [part] if part is not None else []
    chunks = [
        msgspec.json.decode(event.removeprefix(b"data: "))
        for part in parts
        for event in part.chunk.split(b"\n\n")
        if event
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"content": "Hi"}
    assert deltas[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": ""}
    assert deltas[2]["tool_calls"] == [{"index": 0, "function": {"arguments": '{"at":1}'}}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert {chunk["model"] for chunk in chunks} == {"~acme/m"}
    assert sum(part.tokens for part in parts) == 3
    assert parts[-1].done
    assert events.finished
    (usage,) = [part.usage for part in parts if part.usage is not None]
    assert usage == Usage(prompt_tokens=7, cached_tokens=3, completion_tokens=9)
    assert b'"completion_tokens":9' in b"".join(part.usage_chunk for part in parts)


def test_which_stop_sequence_ended_an_answer_is_told_whole_and_streamed() -> None:
    end = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    content = [{"type": "text", "text": "Hi"}]
    whole = completion_of_message(msgspec.json.encode({"content": content, **end}), "m", 1).body
    events = MessageEvents(model="m", keep_usage=False, event_bytes_max=10_000, created_s=1)
    part = events.feed(told(("message_delta", {"delta": end})))
    assert part is not None
    for chat_body in (whole, part.chunk.removeprefix(b"data: ")):
        (choice,) = msgspec.json.decode(chat_body)["choices"]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "END")
    message = msgspec.json.decode(message_of(whole, "r"))
    assert {name: message[name] for name in end} == end
    streamed = MessageStream("r")
    assert msgspec.json.encode(end) in streamed.feed(part.chunk) + streamed.end()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (told(("error", {"error": {"type": "overloaded_error"}})), "error_event"),
        (b"data: {nothing\n\n", "bad_event"),
        (b"data: " + b"x" * 20_000, "event_too_large"),
    ],
)
def test_what_is_no_event_is_a_failure(data: bytes, reason: str) -> None:
    events = MessageEvents(model="m", keep_usage=False, event_bytes_max=10_000, created_s=1)
    with pytest.raises(UpstreamFailed, match=reason):
        events.feed(data)
