"""What a stream of chunks becomes on its way out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import StreamBroken
from router.ingress.faces.messages.answer import MessageStream, message_of
from tests.unit.router.ingress.faces.messages.wire import ID, chunk, delta, events

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
