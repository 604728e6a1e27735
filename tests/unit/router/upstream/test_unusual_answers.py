"""Answers that are sound, though framed or shaped as few workers have them."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.contracts.bodies.completion import decode_completion
from router.contracts.wire import UNREADABLE
from router.domain.pricing import Usage
from router.ports.upstream import StreamPart, UpstreamFailed
from router.upstream.sse import EventStream, usage_of


def data(*, finish: str | None = None, index: int = 0, **fields: object) -> str:
    choice = {"index": index, "delta": {"content": "x"}, "finish_reason": finish}
    return json.dumps({"model": "up", "choices": [choice], **fields})


def usage(**counts: object) -> str:
    return json.dumps({"model": "up", "choices": [], "usage": counts})


COUNTS = usage(prompt_tokens=5, completion_tokens=2)
TEXTS = [data(), data(), data(finish="stop"), COUNTS]
FRAMINGS = {
    "as nearly all": [f"data: {text}\n\n" for text in TEXTS],
    "no space": [f"data:{text}\n\n" for text in TEXTS],
    "named": [f"event: message\ndata: {text}\n\n" for text in TEXTS],
    "numbered": [f"id: {n}\ndata: {text}\nretry: 10\n\n" for n, text in enumerate(TEXTS)],
    "commented": [f": ping\ndata: {text}\n\n" for text in TEXTS],
    "comments between": [f": ping\n\ndata: {text}\n\n" for text in TEXTS],
    "several lines": [
        "".join(f"data: {line}\n" for line in json.dumps(json.loads(text), indent=1).split("\n"))
        + "\n"
        for text in TEXTS
    ],
    "blank lines": [f"\n\n\ndata: {text}\n\n\n" for text in TEXTS],
    "a byte order mark": ["\ufeff" * (not n) + f"data: {text}\n\n" for n, text in enumerate(TEXTS)],
}
DONE = "data: [DONE]\n\n"
ENDS = ["\n", "\r\n", "\r"]


def opened(model: str = "", **settings: object) -> EventStream:
    more = {"keep_usage": False, "event_bytes_max": 10_000, **settings}
    return EventStream(model=model, **more)


def fed(stream: EventStream, chunks: list[bytes]) -> list[StreamPart]:
    return [part for chunk in chunks if (part := stream.feed(chunk)) is not None]


@pytest.mark.parametrize("end", ENDS, ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("events", FRAMINGS.values(), ids=FRAMINGS)
@pytest.mark.parametrize("model", ["", "author/slug"])
@given(cuts=st.lists(st.integers(1, 700), max_size=8))
def test_every_framing_of_the_standard_says_the_same(
    end: str, events: list[str], model: str, cuts: list[int]
) -> None:
    raw = ("".join(events) + DONE).replace("\n", end).encode()
    edges = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw)]
    parts = fed(opened(model), [raw[a:b] for a, b in itertools.pairwise(edges)])
    assert parts[-1].done
    assert sum(part.tokens for part in parts) == 2
    assert [part.usage for part in parts if part.usage] == [Usage(5, completion_tokens=2)]
    assert [part.finish_reason for part in parts if part.finish_reason] == ["stop"]
    received = b"".join(part.chunk for part in parts).decode()
    texts = [
        "".join(line[5:] for line in event.split("\n") if line.startswith("data:"))
        for event in received.lstrip("\ufeff").split("\n\n")
    ]
    names = [json.loads(text)["model"] for text in texts if text]
    assert names == [model or "up"] * 3
    assert "\r" not in received


@pytest.mark.parametrize(
    "event",
    [
        'event: error\ndata: {"message": "out of memory"}\n\n',
        "event: error\ndata: out of memory\n\n",
        "data: {}\nevent: error\n\n",
        "event:error\n\n",
        'data: {"error": {"message": "out of memory"}}\n\n',
        'data: {"error": "out of memory"}\n\n',
        'id: 7\ndata: {"error": {"code": 500}}\n\n',
    ],
)
@pytest.mark.parametrize("end", ENDS, ids=["LF", "CRLF", "CR"])
def test_an_error_in_any_framing_ends_the_call_as_one(event: str, end: str) -> None:
    stream = opened()
    assert fed(stream, [f"data: {data()}\n\n".encode()])[0].tokens == 1
    with pytest.raises(UpstreamFailed, match="error_event"):
        stream.feed((event + f"data: {data()}\n\n").replace("\n", end).encode())


def test_nothing_is_told_after_the_end() -> None:
    raw = f"data: {data(finish='stop')}\n\n{DONE}{DONE}data: {data()}\n\n"
    (part,) = fed(opened(), [raw.encode()])
    assert part.done
    assert part.chunk.count(b"data:") == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"choices":[{"delta":{"content":"\\ud83d"},"finish_reason":null}]}',
        '{"choices":[{"delta":{"content":"a"},"logprobs":{"top":-Infinity},"usage":NaN}]}',
        '{"choices":[{"delta":{"content":[{"type":"text","text":"a"}]},"finish_reason":null}]}',
        '{"choices":[{"index":null,"delta":{"content":"a"}}],"usage":null,"error":null}',
        '{"choices":[{"delta":{"content":"a","tool_calls":null}}],"created":1.5e9}',
    ],
)
@pytest.mark.parametrize("model", ["", "author/slug"])
def test_an_event_of_a_nearly_right_shape_is_a_token(text: str, model: str) -> None:
    noted = text[:-1] + ',"x":{"finish_reason":"none of ours"}}'
    for raw in (text, noted):
        (part,) = fed(opened(model), [f"data: {raw}\n\n".encode()])
        assert part.tokens == 1
        received = json.loads(part.chunk.removeprefix(b"data: "))
        assert received["choices"]
        if model:
            assert received["model"] == model


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"prompt_tokens": 5.0, "completion_tokens": "2"}, Usage(5, completion_tokens=2)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(5)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 3.0},
            },
            Usage(2, 3, 2),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": []},
            Usage(5, 0, 2),
        ),
        ({"prompt_tokens": -4, "completion_tokens": 2.0}, Usage(0, 0, 2)),
        ({"prompt_tokens": "many", "completion_tokens": 2}, None),
        ({"prompt_tokens": 1e30, "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
    ],
)
def test_counts_are_read_where_they_are_counts(counts: dict, expected: Usage | None) -> None:
    whole = decode_completion(json.dumps({"choices": [{}], "usage": counts}).encode())
    assert (usage_of(whole.usage) if whole.usage else None) == expected
    (part,) = fed(opened(keep_usage=True), [f"data: {usage(**counts)}\n\n".encode()])
    assert part.usage == expected


def test_content_as_parts_and_odd_choices_are_read() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "refusal"}]
    call = {"id": 7, "function": {"name": "add", "arguments": {"a": 1}}}
    message = {"content": parts, "tool_calls": [call], "reasoning": None}
    choices = [
        {"message": message, "finish_reason": "stop", "logprobs": {"x": float("-inf")}},
        None,
    ]
    body = json.dumps({"choices": choices, "model": None, "usage": []}).encode()
    (choice,) = decode_completion(body).choices
    assert choice.message.content == "ab"
    assert choice.finish_reason == "stop"
    (found,) = choice.message.tool_calls or ()
    assert json.loads(found.function.arguments or "") == {"a": 1}


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"null", b'"x"', b"{", b'{"a":' + b"9" * 5_000 + b"}x"]
)
def test_what_is_no_object_is_no_answer(body: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_completion(body)


def test_a_stream_of_several_choices_ends_when_all_have() -> None:
    stream = opened(choices=2)
    stream.feed(f"data: {data(finish='stop', index=1)}\n\n".encode())
    assert not stream.finished
    stream.feed(f"data: {data(index=0)}\n\n".encode())
    assert not stream.finished
    stream.feed(f"data: {data(finish='length', index=0)}\n\n".encode())
    assert stream.finished
